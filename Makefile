# Two commands to start with: `make run` and `make test`.

LINT  := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZ  ?= 10s
SHELL := /bin/bash -o pipefail

.PHONY: help run demo build test race check fuzz bench golden deps

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## Run the bot; without a configuration yet, against the practice server
	@if [ -e "$$(./perch config path)" ]; then exec ./perch run; else exec ./perch demo; fi

demo: build ## Play a conversation with the bot on the practice server
	@./perch demo

build: modules
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o perch .

test: deps modules ## Run every test, with the race detector
	go test -race -timeout 20m ./...

race: deps modules ## Run every test with the race detector, ten times
	go test -race -count 10 -timeout 60m ./...

check: modules ## Check format, vet and lint
	@echo "Building the pinned linter, if it is not there yet"
	@$(LINT) fmt --diff
	@go vet ./...
	@$(LINT) run

fuzz: modules ## Fuzz every parser for FUZZ=10s each
	@set -e; for dir in $$(go list -f '{{.Dir}}' ./...); do \
		for target in $$(grep -hoE '^func Fuzz[A-Za-z0-9]+' "$$dir"/*_test.go 2>/dev/null | cut -c6-); do \
			echo "$$target in $$dir"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZ) "$$dir"; \
		done; \
	done

bench: modules ## Measure acknowledgements, start and rest beside a bare server
	go test -run '^$$' -bench . -benchtime 7x -timeout 30m ./bridge/app

golden: ## Rewrite the golden files of the tests
	PERCH_GOLDEN=update go test ./...

deps: ## Install what the tests need beside Go
	@.ci/deps

modules:
	@GOPROXY=off go mod download 2>/dev/null || { echo "Downloading the Go modules that go.mod names"; go mod download; }
