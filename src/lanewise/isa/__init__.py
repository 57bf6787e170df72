"""The vector instructions: encodings, operand widths, units. RTL, golden model, timing engine and assembler all read this table."""
