//! Redis fails in every way it can, while a crowd is in line.

mod stopped;
