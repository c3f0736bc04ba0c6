package webhook

import "perch/bridge"

func errNoSecret(howTo bridge.Text) error {
	return &bridge.Error{
		Code: bridge.CodeUnavailable,
		Text: bridge.Say("A webhook was refused: no webhook secret is set, so its signature cannot be checked"),
		Hint: bridge.Say("Give Perch the secret that the bot was installed with: %s").With(howTo),
	}
}

func errNoHeaders() error {
	return &bridge.Error{
		Code: bridge.CodeInvalid,
		Text: bridge.Say("A webhook without a signature was refused"),
		Hint: bridge.Say("It does not come from Nextcloud Talk, or a proxy in between removes the headers X-Nextcloud-Talk-Random and X-Nextcloud-Talk-Signature."),
	}
}

func errSignature(from string, howTo bridge.Text) error {
	return &bridge.Error{
		Code: bridge.CodeUnauthorized,
		Text: bridge.Say("A webhook from %s was refused: its signature is wrong", from),
		Hint: bridge.Say("If it comes from your server, its secret for this bot differs from yours. Give Perch the one that occ talk:bot:install was given: %s").With(howTo),
	}
}

func errTooManyFailures(from string) error {
	return &bridge.Error{
		Code: bridge.CodeThrottled,
		Text: bridge.Say("%s sent too many webhooks with a wrong signature", from),
		Hint: bridge.Say("Right signatures are still taken."),
	}
}

func errTooLarge(cause error) error {
	return &bridge.Error{
		Code:  bridge.CodeRejected,
		Text:  bridge.Say("A webhook larger than 2 MiB was refused"),
		Hint:  bridge.Say("Nextcloud Talk does not send such webhooks; look at what else calls this address."),
		Cause: cause,
	}
}

func errTooSlow(cause error) error {
	return &bridge.Error{
		Code:  bridge.CodeThrottled,
		Text:  bridge.Say("A webhook came too slowly and was cut off"),
		Hint:  bridge.Say("If it was your server's, look at the network, proxy or tunnel in between."),
		Cause: cause,
	}
}

func errCrowd(cause error) error {
	return &bridge.Error{
		Code:  bridge.CodeUnavailable,
		Text:  bridge.Say("A webhook was refused: too many large ones came at once"),
		Cause: cause,
	}
}

func errIncomplete(cause error) error {
	return &bridge.Error{
		Code:  bridge.CodeInvalid,
		Text:  bridge.Say("A webhook did not arrive whole"),
		Hint:  bridge.Say("The connection between your server and Perch broke off; if it happens often, look at the proxy or tunnel in between."),
		Cause: cause,
	}
}

func errMisled(came, path string) error {
	return &bridge.Error{
		Code: bridge.CodeNotFound,
		Text: bridge.Say("A webhook came to %[1]s, but Perch takes webhooks at %[2]s", came, path),
		Hint: bridge.Say("Is the bot installed with another address, or does a proxy in between change the path? The address to install it with: perch occ"),
	}
}

func errPath(came, path string) error {
	return &bridge.Error{
		Code: bridge.CodeNotFound,
		Text: bridge.Say("A request came to %[1]s, where nothing is; webhooks go to %[2]s", came, path),
	}
}
