package notify

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// maxCommits bounds the commits of a push that are listed.
const maxCommits = 10

// eventOf returns what a webhook of GitHub, Gitea or Forgejo tells of; empty if
// it is none.
func eventOf(h http.Header) string {
	return cmp.Or(h.Get("X-Forgejo-Event"), h.Get("X-Gitea-Event"), h.Get("X-Github-Event"))
}

// forge is what webhooks of GitHub, Gitea and Forgejo have in common.
type forge struct {
	Action     string `json:"action"`
	Zen        string `json:"zen"` // of a ping
	Ref        string `json:"ref"`
	RefType    string `json:"ref_type"` // of create and delete
	Compare    string `json:"compare"`
	CompareURL string `json:"compare_url"` // Gitea
	Deleted    bool   `json:"deleted"`
	Commits    []struct {
		ID      string `json:"id"`
		Message string `json:"message"`
		Author  person `json:"author"`
	} `json:"commits"`
	Repository struct {
		FullName string `json:"full_name"`
		URL      string `json:"html_url"`
	} `json:"repository"`
	Sender      person `json:"sender"`
	Pusher      person `json:"pusher"`
	Issue       *topic `json:"issue"`
	PullRequest *topic `json:"pull_request"`
	Release     *topic `json:"release"`
	Comment     *topic `json:"comment"`
	Review      *topic `json:"review"`
	Workflow    *topic `json:"workflow_run"`
}

// person is a user or the author of a commit.
type person struct {
	Login    string `json:"login"`
	Username string `json:"username"`
	Name     string `json:"name"`
}

func (p person) String() string { return cmp.Or(p.Login, p.Username, p.Name, "somebody") }

// topic is what an event is about.
type topic struct {
	Number     int    `json:"number"`
	Title      string `json:"title"`
	Name       string `json:"name"`
	Tag        string `json:"tag_name"`
	Body       string `json:"body"`
	URL        string `json:"html_url"`
	Merged     bool   `json:"merged"`
	State      string `json:"state"`
	Conclusion string `json:"conclusion"`
	Branch     string `json:"head_branch"`
}

// fromForge returns a webhook of a forge as a message.
func fromForge(event string, body []byte) (string, error) {
	var f forge
	if err := json.Unmarshal(body, &f); err != nil {
		return "", errors.New("the JSON cannot be read: " + err.Error())
	}
	who, link := quoted(f.Sender.String()), f.Repository.URL
	var said string
	var more []string
	switch {
	case event == "ping":
		said = "the webhook works"
		if f.Zen != "" {
			said += ": " + quoted(f.Zen)
		}
		who = ""
	case event == "push":
		who = quoted(cmp.Or(f.Pusher.Login, f.Pusher.Username, f.Pusher.Name, f.Sender.String()))
		said, more = f.push()
		link = cmp.Or(f.Compare, f.CompareURL, link)
	case event == "create", event == "delete":
		said = event + "d " + f.RefType + " " + branch(f.Ref)
	case f.Review != nil && f.PullRequest != nil:
		said, link = "reviewed ("+cmp.Or(f.Review.State, f.Action)+") "+f.PullRequest.of("pull request"), cmp.Or(f.Review.URL, f.PullRequest.URL)
		more = excerpt(f.Review.Body)
	case f.Comment != nil && (f.Issue != nil || f.PullRequest != nil):
		about := cmp.Or(f.PullRequest, f.Issue)
		said, link = "commented on "+about.of("#"), cmp.Or(f.Comment.URL, about.URL)
		if f.Action != "created" && f.Action != "" {
			said = f.Action + " a comment on " + about.of("#")
		}
		more = excerpt(f.Comment.Body)
	case f.PullRequest != nil:
		action := f.Action
		if action == "closed" && f.PullRequest.Merged {
			action = "merged"
		}
		said, link = action+" "+f.PullRequest.of("pull request"), f.PullRequest.URL
	case f.Issue != nil:
		said, link = f.Action+" "+f.Issue.of("issue"), f.Issue.URL
	case f.Release != nil:
		said, link = f.Action+" release "+quoted(cmp.Or(f.Release.Name, f.Release.Title, f.Release.Tag)), f.Release.URL
	case f.Workflow != nil:
		said = "workflow " + quoted(f.Workflow.Name) + " " + cmp.Or(f.Workflow.Conclusion, f.Action) + " on " + branch(f.Workflow.Branch)
		link, who = f.Workflow.URL, ""
	default:
		said = strings.ReplaceAll(event, "_", " ")
		if f.Action != "" {
			said += " " + f.Action
		}
		said = quoted(said)
	}
	line := strings.TrimSpace(who + " " + said)
	if name := f.Repository.FullName; name != "" {
		line = "**" + quoted(name) + "** " + line
	}
	if isLink(link) {
		line += " " + link
	}
	return strings.Join(append([]string{line}, more...), "\n"), nil
}

func (f forge) push() (said string, commits []string) {
	if f.Deleted || strings.Trim(f.Ref, "0") == "" {
		return "deleted " + branch(f.Ref), nil
	}
	said = "pushed " + strconv.Itoa(len(f.Commits)) + " commits to " + branch(f.Ref)
	switch {
	case len(f.Commits) == 0:
		return "pushed " + branch(f.Ref), nil
	case len(f.Commits) == 1:
		said = "pushed 1 commit to " + branch(f.Ref)
	}
	for i, c := range f.Commits {
		if i == maxCommits {
			commits = append(commits, "- … and "+strconv.Itoa(len(f.Commits)-maxCommits)+" more")
			break
		}
		subject, _, _ := strings.Cut(strings.TrimSpace(c.Message), "\n")
		commits = append(commits, "- `"+c.ID[:min(len(c.ID), 7)]+"` "+quoted(subject)+" ("+quoted(c.Author.String())+")")
	}
	return said, commits
}

// of returns what the topic is called; kind is "#" where its number is enough.
func (t topic) of(kind string) string {
	words := "#" + strconv.Itoa(t.Number)
	if kind != "#" {
		words = kind + " " + words
	}
	return words + ": " + quoted(t.Title)
}

func branch(ref string) string {
	return "`" + strings.ReplaceAll(oneLine(strings.TrimPrefix(strings.TrimPrefix(ref, "refs/heads/"), "refs/tags/")), "`", "") + "`"
}

// excerpt returns the beginning of what somebody wrote, as a quotation.
func excerpt(body string) []string {
	if body = quoted(body); body == "" {
		return nil
	}
	return []string{"> " + body}
}

// quoted returns what anybody can have written into a public repository, in a
// line that mentions nobody: "@all" would notify the whole conversation.
func quoted(s string) string { return strings.ReplaceAll(oneLine(s), "@", "@\u200b") }
