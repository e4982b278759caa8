//! One file per command; maps results to exit codes.
