package assets

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sentences returns every sentence for people in the program's code: the
// constant formats of bridge.Say.
func sentences(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{} // → where
	files := token.NewFileSet()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			switch f := call.Fun.(type) {
			case *ast.SelectorExpr:
				if of, ok := f.X.(*ast.Ident); !ok || of.Name != "bridge" || f.Sel.Name != "Say" {
					return true // a method of that name
				}
			case *ast.Ident: // in the package itself
				if file.Name.Name != "bridge" || f.Name != "Say" {
					return true
				}
			default:
				return true
			}
			at := files.Position(call.Pos())
			sentence, ok := constant(call.Args[0])
			if !ok {
				t.Errorf("%s: the format of Say is not a constant, so it cannot be translated", at)
				return true
			}
			if strings.Contains(sentence, "perch secret set ") && !slices.ContainsFunc(secretKeepers(), func(file string) bool { return strings.HasSuffix(at.Filename, file) }) {
				t.Errorf("%s: where a secret comes from the environment this is wrong; ask Secret.HowTo", at)
			}
			if strings.ContainsFunc(verb.ReplaceAllString(sentence, ""), isLetter) {
				found[sentence] = at.String()
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func isLetter(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }

// secretKeepers returns the files that may say how a secret is stored in the
// keychain: those that know it, and those that look at config.toml alone.
func secretKeepers() []string {
	return []string{"bridge/secret.go", "secret/secret.go", "secret/doctor.go", "config/parse.go", "config/import.go", "config/check.go"}
}

// constant returns the value of a string literal, or of several joined by +.
func constant(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, err == nil
	case *ast.BinaryExpr:
		left, ok := constant(e.X)
		right, ok2 := constant(e.Y)
		return left + right, ok && ok2 && e.Op == token.ADD
	}
	return "", false
}

var verb = regexp.MustCompile(`%(\[\d+\])?s`)

// verbs returns which arguments a format prints, in order of their numbers.
func verbs(format string) []string {
	var all []string
	for i, v := range verb.FindAllStringSubmatch(format, -1) {
		n := v[1]
		if n == "" {
			n = "[" + strconv.Itoa(i+1) + "]"
		}
		all = append(all, n)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestEverySentenceIsTranslated(t *testing.T) {
	all := sentences(t)
	if len(all) < 100 {
		t.Fatalf("only %d sentences were found in the code", len(all))
	}
	for _, language := range Languages() {
		known := read(language)
		for sentence, where := range all {
			translation := known[sentence]
			switch {
			case translation == "":
				t.Errorf("%s: not in %s.json: %q", where, language, sentence)
			case !slices.Equal(verbs(sentence), verbs(translation)):
				t.Errorf("%s.json: %q has other arguments than %q", language, translation, sentence)
			case strings.Count(verb.ReplaceAllString(translation, ""), "%") != strings.Count(verb.ReplaceAllString(sentence, ""), "%"):
				t.Errorf("%s.json: %q has another %% than %q", language, translation, sentence)
			}
		}
		for sentence := range known {
			if _, ok := all[sentence]; !ok {
				t.Errorf("%s.json: nothing says %q any more", language, sentence)
			}
		}
	}
}

func TestTranslator(t *testing.T) {
	for locale, want := range map[string]bool{
		"de": true, "de_DE.UTF-8": true, "de-AT": true, "DE": true, "fr_CA": true, "fr.UTF-8": true,
		"": false, "C": false, "en_GB.UTF-8": false, "POSIX": false, "den_CA": false, "fry": false,
	} {
		if got := Translator(locale) != nil; got != want {
			t.Errorf("Translator(%q) found: %v, want %v", locale, got, want)
		}
	}
	if got := Translator("de")("a sentence that nobody says"); got != "a sentence that nobody says" {
		t.Errorf("an unknown sentence became %q", got)
	}
}
