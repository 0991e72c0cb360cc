"""How large a family of Tasks may grow: said where a Task is refused for it."""

FAMILY_LIMITS = {
    "depth": "Tasks stand at most five levels below the first, and this would be the sixth: does a template use"
    " itself?",
    "tree": "the first Task and all below it are at most 500, and this would be one more: make fewer, or put several"
    " items into one",
}
"""Why a family of Tasks takes no more, by the store's word for it."""
