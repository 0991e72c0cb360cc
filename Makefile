# Every target may be interrupted and run again.
# CLUSTER=kind|local chooses the cluster; by default kind where Docker runs, else local (docs: cluster/README.md).
.DEFAULT_GOAL := help
SHELL := /bin/sh
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/parley
UV := $(CACHE)/tools/bin/uv
RUN := $(UV) run --no-sync
CLUSTER_COMMAND := .venv/bin/python cluster/cluster
export UV_PYTHON_DOWNLOADS ?= never

.PHONY: help setup up down demo test bench lint crds kubeconfig
help: ## Say what the targets do
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: ## Install what is missing: Python, uv, this project's environment
	@sh cluster/setup "$(CACHE)/tools"

up: setup ## Bring up the cluster, the image and the charts; quick when nothing changed
	@$(CLUSTER_COMMAND) up --install

down: ## End the cluster and delete its state; caches stay
	@sh cluster/python cluster/cluster down

demo: up ## Run the examples to their end and show the conversation
	@KUBECONFIG="$$($(CLUSTER_COMMAND) kubeconfig)" PATH="$(CURDIR)/cluster/bin:$(CURDIR)/.venv/bin:$$PATH" sh examples/demo.sh

test: up ## Run all tests (ARGS='-k name' for some)
	@$(RUN) python -m tests $(ARGS)

bench: up ## Measure Parley, against bare Jobs in the same run (ARGS='chains' for one of them)
	@$(RUN) python -m tests.bench $(ARGS)

lint: setup ## Check style, types, import layers and charts
	@sh cluster/lint "$(UV)"

crds: setup ## Write crds/ anew from the models
	@$(RUN) python -m parley.resources crds

kubeconfig: ## Print only the path of the kubeconfig (use: make -s kubeconfig)
	@sh cluster/python cluster/cluster kubeconfig
