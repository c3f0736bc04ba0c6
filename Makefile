# Two commands to start with: `make run` and `make test`.

LINT  := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZ  ?= 10s
SHELL := /bin/bash -o pipefail

VERSION = $(shell assets/packaging/version)
LDFLAGS = -s -w -X perch/bridge/cli.version=$(VERSION)
BUILD = go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

# What Perch without a window is released for; ARM is ARMv6 and ARMv7.
PLATFORMS := linux/amd64 linux/arm64 linux/arm linux/riscv64 freebsd/amd64 windows/amd64 darwin/arm64

.PHONY: help run demo build headless release test test-packages test-real race check licences outdated fuzz bench golden screenshots deps modules

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Open the window; without a display, run the bot, or a practice conversation if it is not set up
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ "$$(uname -s)" = Darwin ]; then $(MAKE) -s build && exec ./perch; \
	else $(MAKE) -s headless && if [ -e "$$(./perch config path)" ]; then exec ./perch run; else exec ./perch demo; fi; fi

demo: headless ## Play a conversation with the bot on the practice server
	@./perch demo

build: deps modules ## Build perch with its window
	@echo "Building the window; the first time takes some minutes"
	@CGO_ENABLED=1 $(BUILD) -tags migrated_fynedo -o perch .

headless: modules ## Build perch without a window: one static file, for a server
	@CGO_ENABLED=0 $(BUILD) -tags headless -o perch .

release: build ## Build what is released into dist/: packages, archives, an image, an installer
	@go run ./assets/packaging release --version '$(VERSION)' --window ./perch $(PLATFORMS)

test-packages: ## Install, run, upgrade and remove the package in a scratch folder; lint what it has in it
	@.ci/deps packages
	go test -tags package,headless -count 1 -timeout 20m ./assets/packaging

test-real: ## Try recipes with the real programs, installed from npm: some minutes
	go test -tags real,headless -count 1 -timeout 30m -run '^Test(NodeRED|OpenClaw)$$' ./bridge/cli

test: deps modules ## Run every test, with the race detector
	go test -race -timeout 20m ./...

race: deps modules ## Run every test with the race detector, ten times
	go test -race -count 10 -timeout 60m ./...

check: deps modules ## Check format, vet, lint, licences, and that every platform compiles
	@echo "Building the pinned linter, if it is not there yet"
	@$(LINT) fmt --diff
	@go vet ./...
	@go vet -tags headless,notunnel . ./bridge/... ./tunnel
	@$(LINT) run
	@echo "Checking the types for $(PLATFORMS)"
	@go run ./assets/packaging platforms $(PLATFORMS)
	@go run ./assets/packaging licences $(PLATFORMS)

licences: modules ## Write THIRD_PARTY_LICENSES, after a library came or went
	@go run ./assets/packaging licences --write $(PLATFORMS)

outdated: ## List the libraries that have a newer version
	@go list -m -u -f '{{if and .Update (not .Indirect)}}{{.Path}} {{.Version}} -> {{.Update.Version}}{{end}}' all

fuzz: modules ## Fuzz every parser for FUZZ=10s each
	@set -e; for dir in $$(go list -f '{{.Dir}}' ./...); do \
		for target in $$(grep -hoE '^func Fuzz[A-Za-z0-9]+' "$$dir"/*_test.go 2>/dev/null | cut -c6-); do \
			echo "$$target in $$dir"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZ) "$$dir"; \
		done; \
	done

bench: modules ## Measure acknowledgements, start, rest, and what an account costs its server
	go test -run '^$$' -bench . -benchtime 7x -timeout 30m ./bridge/app ./bridge/receive ./tunnel

golden: ## Rewrite the golden files of the tests
	PERCH_GOLDEN=update go test ./...

screenshots: deps modules ## Draw every page, light and dark, into assets/screenshots
	PERCH_SCREENSHOTS=$(CURDIR)/assets/screenshots go test -count 1 -run TestScreenshots ./ui/...

deps: ## Install what the window and the tests need beside Go
	@.ci/deps

modules:
	@GOPROXY=off go mod download 2>/dev/null || { echo "Downloading the Go modules that go.mod names"; go mod download; }
