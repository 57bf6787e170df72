// The recurrence of lanewise.sim.matrix_stream (its class MatrixStream), on times alone and without a loop over blocks.
//
// What is left out there is no state: a block's lines and steps depend on its first two steps, and on nothing else of them.
#pragma once
#include <algorithm>
#include <cstdint>

using Time = int64_t;

// What the machine is: lanewise.config.MatrixConfig
struct MatrixShape {
    int32_t block_steps, rows, row_beats, requantiser;
};

// A command, as lanewise.sim.encode makes it
struct MatrixCommand {
    int32_t blocks, first_steps, last_steps;  // blocks of all passes; steps of the first, of the last
    int32_t ends, reload;
};

// All are clocks, and 0 where nothing was before. A command compares them with clocks behind its own start only, for the later of the two; `second` is
// used besides where `first`, which is before it, is not before such a clock. So those that are not behind the last start might be any that
// are not (the engine's summaries count on that: recurrence.cpp, Machine::key); and all moved by a period, what follows is moved by it.
struct MatrixState {
    Time first, second;  // of the block that leaves: its first step; the second, or where there is none the clock after the first
    Time filled;         // its last line moved into the transposer
    Time array;          // the array takes the next step from this clock on
    Time second_from;    // and the second step of the next block from this one on: if that begins a tile, when the one before is loaded
    Time drained;        // the last row of the tile before leaves the drain registers
    Time port;           // the next item of the side reads can be asked for
};
constexpr int32_t MATRIX_STATE = sizeof(MatrixState) / sizeof(Time);
constexpr int32_t MATRIX_DRAINED = 5;  // this one and those behind it change with a tile's end alone

// Last reads and last write; 0 where there is none
struct MatrixTimes {
    Time operands, constants, scales, written;
};

constexpr int32_t READ_CLK = 2;

// The command that starts in clock `start`, as early as it can
inline MatrixTimes matrix_command(MatrixState& now, const MatrixCommand& command, const MatrixShape& shape, Time start) {
    const int32_t size = shape.block_steps;
    Time read = 0;
    auto block = [&](Time arrives, int32_t steps) {
        Time begins = std::max(arrives, now.filled + 1);
        if (begins <= now.first) {  // its lines move as the steps before them leave
            read = size == 2 ? now.first : now.second + size - 3;
            now.filled = now.second + size - 2;
        } else {
            begins = std::max(begins, now.second);
            read = begins + size - 2;
            now.filled = begins + size - 1;
        }
        now.first = std::max(now.filled + 1, now.array);
        Time second = std::max(now.first + 1, now.second_from);
        now.array = second + steps - 1;
        now.second = steps == 1 ? now.first + 1 : second;
        now.second_from = start;  // none but a tile's first block waits
    };
    block(start + READ_CLK, command.first_steps);
    if (command.blocks > 1) {
        // From the second block on each comes a block's steps behind the one before it: its lines are there and move with the steps
        // before them, and the array has taken those when the last line is in.
        block(0, size);
        Time more = static_cast<Time>(command.blocks - 2) * size;
        now.first += more, now.second += more, now.filled += more;
        if (more) read = now.first - 2;
        now.array = now.first + command.last_steps;
        if (command.last_steps == 1) now.second = now.first + 1;
    }
    MatrixTimes times{read, 0, 0, 0};
    if (!command.ends) return times;
    const Time beats = shape.row_beats;
    Time scale = std::max(start + 1, now.port), follows = std::max(scale + 1, now.drained);
    Time loaded = std::max(now.array + 1, now.drained), ready = loaded;
    if (command.reload) {
        ready = std::max(loaded + 1, follows + 2) + 2 * (beats - 1);
        times.constants = beats == 1 ? follows + 1 : ready - 1;
        follows = ready;
    }
    now.drained = ready + shape.rows * beats;
    times.scales = now.drained - 2 * beats;
    if (shape.rows == 2) times.scales = follows;
    if (shape.rows == 1) times.scales = command.reload ? times.constants : scale;
    now.port = shape.rows == 1 ? follows : now.drained - beats;
    now.second_from = loaded;
    times.written = now.drained + shape.requantiser + 1;
    return times;
}
