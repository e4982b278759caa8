//! The rule stage: findings in, states out. Pure: no IO, no clock.
