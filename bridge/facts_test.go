package bridge_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A sentence is for people: code decides by an event's Kind. Nothing may compare
// a Title or a Format with a string, look one up, or search it.
func TestNothingIsRecognisedByItsSentence(t *testing.T) {
	t.Parallel()
	files := token.NewFileSet()
	var parsed []*ast.File
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if d.IsDir() && path != ".." && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, path, nil, 0)
		parsed = append(parsed, file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(parsed) < 100 {
		t.Fatalf("only %d files were read", len(parsed))
	}
	for _, where := range matchedSentences(files, parsed) {
		t.Errorf("%s: a sentence is matched; use the event's Kind", where)
	}
}

func TestMatchedSentencesAreFound(t *testing.T) {
	t.Parallel()
	const source = `package p
const lost = "The tunnel is offline"
func f(e Event) {
	_ = e.Title.Format == "Perch started"
	_ = "Perch started" != e.Title.String()
	_ = lost == (e.Title.Format)
	_ = strings.Contains(e.Title.String(), "offline")
	_ = regexp.MustCompile("^Perch").MatchString(e.Title.Format)
	_ = slices.Contains([]string{lost}, say(e.Title))
	switch e.Title.Format {
	case "Perch started":
	}
	_ = map[string]bool{lost: true}[e.Title.Format]
	_ = "SELECT 1 FROM event WHERE body ->> '$.title.format' = ?"
}
func g(e Event) {
	_ = e.Title.Format == "" || e.Time.Format(lost) == lost || e.Kind == "title"
	_ = e.Reason.String() == e.Title.String()
	_ = strings.ToUpper(e.Title.String())
	_ = Say("Perch started")
	show(e.Title, "bold")
}`
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"p.go:4", "p.go:5", "p.go:6", "p.go:7", "p.go:8", "p.go:9", "p.go:10", "p.go:13", "p.go:14"}
	if got := matchedSentences(files, []*ast.File{file}); !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}

// matchedSentences returns where a field by the name of Title or Format is
// matched with a string.
func matchedSentences(files *token.FileSet, parsed []*ast.File) (found []string) {
	constants := map[string]bool{}
	for _, file := range parsed {
		ast.Inspect(file, func(n ast.Node) bool {
			if d, is := n.(*ast.GenDecl); is && d.Tok == token.CONST {
				for _, spec := range d.Specs {
					for _, name := range spec.(*ast.ValueSpec).Names {
						constants[name.Name] = true
					}
				}
			}
			return true
		})
	}
	// fixed reports whether a string that stands in the code is part of n.
	fixed := func(n ast.Node) bool {
		return has(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				return n.Kind == token.STRING && n.Value != `""`
			case *ast.Ident:
				return constants[n.Name]
			}
			return false
		})
	}
	for _, file := range parsed {
		ast.Inspect(file, func(n ast.Node) bool {
			matched := false
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if n.Op == token.EQL || n.Op == token.NEQ {
					matched = sentence(n.X) && fixed(n.Y) || sentence(n.Y) && fixed(n.X)
				}
			case *ast.SwitchStmt:
				matched = n.Tag != nil && sentence(n.Tag)
			case *ast.IndexExpr:
				matched = sentence(n.Index)
			case *ast.CallExpr:
				f, is := n.Fun.(*ast.SelectorExpr)
				if !is || !slices.ContainsFunc(n.Args, func(a ast.Expr) bool { return sentence(a) }) {
					break
				}
				from, _ := f.X.(*ast.Ident)
				library := from != nil && slices.Contains([]string{"strings", "slices", "regexp"}, from.Name)
				matched = strings.HasPrefix(f.Sel.Name, "Match") ||
					library && slices.ContainsFunc(n.Args, func(a ast.Expr) bool { return fixed(a) })
			case *ast.BasicLit:
				matched = strings.Contains(n.Value, "$.title") // in SQL
			}
			if matched {
				at := files.Position(n.Pos())
				found = append(found, fmt.Sprintf("%s:%d", at.Filename, at.Line))
			}
			return true
		})
	}
	return found
}

// sentence reports whether a field by the name of Title or Format is part of n.
func sentence(n ast.Node) bool {
	methods := map[ast.Expr]bool{} // such as time.Time's Format
	return has(n, func(n ast.Node) bool {
		if call, is := n.(*ast.CallExpr); is {
			methods[call.Fun] = true
		}
		field, is := n.(*ast.SelectorExpr)
		return is && !methods[field] && (field.Sel.Name == "Title" || field.Sel.Name == "Format")
	})
}

// has reports whether something is true of a part of n.
func has(n ast.Node, is func(n ast.Node) bool) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		found = found || n != nil && is(n)
		return !found
	})
	return found
}
