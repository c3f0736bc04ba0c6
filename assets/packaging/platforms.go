package main

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

// platforms type-checks Perch without a window, and its tests, for each of the
// platforms, such as "linux/arm". Of the dependencies it reads only the
// declarations, so that it takes seconds where building would take minutes.
func platforms(ctx context.Context, names []string) error {
	var problems []string
	for _, name := range names {
		loaded, err := load(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		packages.Visit(loaded, nil, func(p *packages.Package) {
			if p.Module == nil || !p.Module.Main || strings.HasSuffix(p.ID, ".test") {
				return
			}
			for _, e := range p.Errors { // those of a package come again with its tests
				if problem := name + ": " + e.Error(); !slices.Contains(problems, problem) {
					problems = append(problems, problem)
				}
			}
		})
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "\n"))
	}
	return nil
}

func load(ctx context.Context, platform string) ([]*packages.Package, error) {
	system, arch, _ := strings.Cut(platform, "/")
	ours, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	ours += string(filepath.Separator)
	return packages.Load(&packages.Config{
		Context: ctx,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedModule | packages.NeedImports | packages.NeedDeps |
			packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedTypesSizes,
		Env:        append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch),
		BuildFlags: []string{"-tags=headless"},
		Tests:      true,
		ParseFile: func(fset *token.FileSet, name string, src []byte) (*ast.File, error) {
			file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
			if file != nil && !strings.HasPrefix(name, ours) {
				for _, d := range file.Decls {
					if f, ok := d.(*ast.FuncDecl); ok {
						f.Body = nil
					}
				}
			}
			return file, err
		},
	}, "./...")
}
