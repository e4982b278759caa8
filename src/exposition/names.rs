//! Spells every metric once: name, type, labels, HELP.
