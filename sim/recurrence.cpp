// The recurrence of lanewise.sim.engine on a Program that lanewise.sim.encode has made numbers of; times in clk.
//
// State: the last start of each stream; when each unit is free; when the MAC array's drain is, or of an array that splits when its last results
// have landed; MatrixState; then, for each name, when a reader may start at the earliest, when the last beat lands, and when the last read
// has ended.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <set>
#include <map>
#include <unordered_map>
#include <vector>

#include "matrix_stream.h"

namespace {

enum Operation : int32_t { BLOCK, ROTATE, LOOP, END };

struct Read {
    // start >= ready[name] - ready, last[name] - last; the read ends at start + end, or a command's in the clock after the latest of its
    // last reads that the bits of end name
    int32_t slot, ready, last, end;
};
struct Write {
    // start >= ready[name] - ready, last[name] - last, read[name] - read; then ready and last, where they are not negative
    int32_t slot, ready, last, read, ready_clk, last_clk;
};
struct Instruction {
    int32_t stream, unit, hold, drain, number, last, reads, writes;  // drain < 0: a command of the matrix stream, MatrixCommand behind the writes
    uint32_t moved_low;  // bytes, or of the matrix unit steps in all passes
    int32_t moved_high;
};
enum Role : int32_t { OPERANDS = 1, CONSTANTS = 2, SCALES = 4 };
constexpr int32_t COMMAND = sizeof(MatrixCommand) / 4;

// The clock after the latest of a command's last reads that `roles` names
Time ended(const MatrixTimes& times, int32_t roles) {
    Time end = 0;
    if (roles & OPERANDS) end = std::max(end, times.operands);
    if (roles & CONSTANTS) end = std::max(end, times.constants);
    if (roles & SCALES) end = std::max(end, times.scales);
    return end + 1;
}

struct Node;
using Body = std::vector<Node>;

// Streams as bits
using Streams = uint8_t;

struct KeyPart {
    int32_t slot;
    Streams streams;
};

using Key = std::vector<Time>;
struct Hash {
    size_t operator()(const Key& key) const {
        uint64_t value = 0xcbf29ce484222325u;
        for (Time part : key) value = (value ^ static_cast<uint64_t>(part)) * 0x9e3779b97f4a7c15u, value ^= value >> 29;
        return value;
    }
};

struct Loop {
    int64_t count = 0, phases = 1;
    Body* body = nullptr;
    std::vector<KeyPart> keys;
    std::vector<Streams> together;  // what the keys' streams are, each once
    std::vector<int32_t> moved, streams;
    std::unordered_map<Key, std::vector<Time>, Hash> memo;  // moved slots at the end, and clocks that the unit matrix was held
};

struct Node {
    Operation operation;
    std::vector<int32_t> code;  // of a block: instructions one after the other; of a rotation: the slots
    std::shared_ptr<Loop> loop;
};

// Where the names' places that rotate had been before: of each, the place whose three numbers it holds
using Renamed = std::map<int32_t, int32_t>;

int32_t source(const Renamed& renamed, int32_t slot) {
    auto found = renamed.find(slot);
    return found == renamed.end() ? slot : found->second;
}

// First the one, then the other
Renamed then(const Renamed& first, const Renamed& second) {
    Renamed both = first;
    for (auto& [slot, from] : second) both[slot] = source(first, from);
    return both;
}

// So many times
Renamed repeated(Renamed renamed, int64_t count) {
    Renamed all;
    for (; count; count >>= 1, renamed = then(renamed, renamed))
        if (count & 1) all = then(all, renamed);
    return all;
}

// What a loop's body can read or change
struct Touched {
    static constexpr Streams CHANGED = 0x80;
    std::vector<Streams> uses;              // by place: the streams that use it, and whether it changes
    std::vector<std::set<int32_t>> groups;  // names that rotate, one among the others; none is in two
    Renamed renamed;                        // by the whole body

    explicit Touched(int32_t places) : uses(places) {}

    void rotate(const int32_t* slots, int32_t count) {
        Renamed once;
        for (int32_t i = 0; i < count; i++) once[slots[i]] = slots[(i + 1) % count];
        renamed = then(renamed, once);
        merge({slots, slots + count});
    }

    void merge(std::set<int32_t> group) {
        auto apart = [&](const std::set<int32_t>& other) {
            for (int32_t slot : other)
                if (group.count(slot)) return false;
            return true;
        };
        auto joins = std::stable_partition(groups.begin(), groups.end(), apart);
        for (auto other = joins; other != groups.end(); other++) group.insert(other->begin(), other->end());
        groups.erase(joins, groups.end());
        groups.push_back(std::move(group));
    }

    void add(const int32_t* code, int32_t drain) {
        Instruction head;
        std::memcpy(&head, code, sizeof head);
        auto use = [&](int32_t slot, bool changes) {
            uses[slot] |= static_cast<Streams>(1 << head.stream | (changes ? CHANGED : 0));
        };
        use(head.stream, true);
        use(head.unit, true);
        if (head.drain > 0) use(drain, true);
        const int32_t* at = code + sizeof head / 4;
        for (int32_t i = 0; i < head.reads; i++, at += 4)
            for (int32_t part = 0; part < 3; part++) use(at[0] + part, part == 2);
        for (int32_t i = 0; i < head.writes; i++, at += 6)
            for (int32_t part = 0; part < 3; part++) use(at[0] + part, part != 2 && at[4 + part] >= 0);
        if (head.drain >= 0) return;
        const MatrixCommand& command = *reinterpret_cast<const MatrixCommand*>(at);
        if (command.ends) use(drain, true);
        for (int32_t part = 0; part < MATRIX_STATE; part++) use(drain + 1 + part, part < MATRIX_DRAINED || command.ends);
    }

    void update(const Touched& other, int64_t count) {
        for (size_t slot = 0; slot < uses.size(); slot++) uses[slot] |= other.uses[slot];
        for (auto& group : other.groups) merge(group);
        if (!other.renamed.empty()) renamed = then(renamed, repeated(other.renamed, count));
    }

    // After how many repetitions a place holds again what it held
    int64_t round(int32_t slot) const {
        int64_t count = 1;
        for (int32_t at = source(renamed, slot); at != slot; at = source(renamed, at)) count++;
        return count;
    }

    // Give the loop what its summary needs; names that rotate share their uses and are compared exactly
    void close(Loop& loop, int32_t streams) {
        std::set<int32_t> exact;
        for (auto& group : groups)
            for (int32_t part = 0; part < 3; part++) {
                Streams users = 0;
                for (int32_t slot : group) users |= uses[slot + part];
                const bool changes = users & CHANGED;
                for (int32_t slot : group) {
                    uses[slot + part] = users;
                    if (changes) exact.insert(slot + part);
                }
                // only permuted: a period must bring every member back to its place
                if (!changes) for (int32_t slot : group) loop.phases = std::lcm(loop.phases, round(slot));
            }
        for (int32_t slot = 0; slot < static_cast<int32_t>(uses.size()); slot++) {
            if (!uses[slot]) continue;
            const Streams users = exact.count(slot) ? 0 : uses[slot] & ~CHANGED;
            loop.keys.push_back({slot, users});
            if (users && std::find(loop.together.begin(), loop.together.end(), users) == loop.together.end()) loop.together.push_back(users);
            if (uses[slot] & CHANGED) loop.moved.push_back(slot);
        }
        for (int32_t slot : loop.moved)
            if (slot < streams) loop.streams.push_back(slot);
    }
};

// What is known without running
struct Counted {
    int64_t instructions, loaded, stored, steps;
    int64_t held[1];  // by unit
};

struct Program {
    int32_t streams, drain, places, loads, matrix;
    Counted& counted;
    int32_t number = 0;
    std::vector<std::unique_ptr<Body>> bodies;

    // Reads nodes up to END, of a body that runs so often
    Body* parse(const int32_t*& at, Touched& touched, int64_t times) {
        bodies.push_back(std::make_unique<Body>());
        Body* body = bodies.back().get();
        for (;;) {
            int32_t operation = *at++;
            if (operation == END) return body;
            if (operation == BLOCK) {
                int32_t size = *at++;
                body->push_back({BLOCK, std::vector<int32_t>(at, at + size), nullptr});
                block(body->back().code, touched, times);
                at += size;
            } else if (operation == ROTATE) {
                int32_t size = *at++;
                body->push_back({ROTATE, std::vector<int32_t>(at, at + size), nullptr});
                touched.rotate(at, size);
                at += size;
            } else {
                auto loop = std::make_shared<Loop>();
                uint32_t low = static_cast<uint32_t>(*at++);
                loop->count = static_cast<int64_t>(*at++) << 32 | low;
                Touched inner(places);
                loop->body = parse(at, inner, times * loop->count);
                inner.close(*loop, streams);
                touched.update(inner, loop->count);
                body->push_back({LOOP, {}, loop});
            }
        }
    }

    // Numbers and counts instructions one after the other
    void block(std::vector<int32_t>& code, Touched& touched, int64_t times) {
        for (int32_t *at = code.data(), *end = at + code.size(); at < end;) {
            Instruction& head = *reinterpret_cast<Instruction*>(at);
            head.number = number++;
            const int64_t moved = times * (static_cast<int64_t>(head.moved_high) << 32 | head.moved_low);
            const int32_t unit = head.unit - streams;
            counted.instructions += times;
            counted.held[unit] += times * head.hold;
            if (head.unit == loads) counted.loaded += moved;
            if (head.unit == loads + 1) counted.stored += moved;
            if (unit == matrix) counted.steps += moved;
            touched.add(at, drain);
            at += (sizeof head + sizeof(Read) * head.reads + sizeof(Write) * head.writes) / 4 + (head.drain < 0 ? COMMAND : 0);
        }
    }
};

// Told (number, start, end, clocks that the unit is held) of a chunk of instructions; not 0: stop
using Watcher = int32_t (*)(int64_t count);

struct Machine {
    const Program& program;
    bool summarise;
    Time* state;
    Time* busy;
    const Time* dma;  // pairs of held clocks and clocks to the end, for each DMA instruction in turn
    int64_t dma_count, dma_used = 0;
    Time* events;
    int64_t capacity, filled = 0;
    Watcher watcher;
    int32_t loads;  // the unit of DMA loads; stores' is the next
    int32_t matrix;
    MatrixShape shape;
    int32_t status = 0;

    void flush() {
        if (filled && watcher(filled)) status = 1;
        filled = 0;
    }

    void sequence(const Body& body) {
        for (const Node& node : body) {
            if (status) return;
            if (node.operation == BLOCK)
                straight(node.code);
            else if (node.operation == ROTATE)
                rotate(node.code);
            else if (summarise)
                summarised(*node.loop);
            else
                for (int64_t i = 0; i < node.loop->count && !status; i++) sequence(*node.loop->body);
        }
    }

    void rotate(const std::vector<int32_t>& slots) {
        Time head[3];
        std::memcpy(head, state + slots[0], sizeof head);
        for (size_t i = 0; i + 1 < slots.size(); i++) std::memcpy(state + slots[i], state + slots[i + 1], sizeof head);
        std::memcpy(state + slots.back(), head, sizeof head);
    }

    void straight(const std::vector<int32_t>& code) {
        const int32_t *at = code.data(), *end = at + code.size();
        while (at < end) {
            const Instruction& now = *reinterpret_cast<const Instruction*>(at);
            const Read* reads = reinterpret_cast<const Read*>(at + sizeof(Instruction) / 4);
            const Write* writes = reinterpret_cast<const Write*>(reads + now.reads);
            at = reinterpret_cast<const int32_t*>(writes + now.writes);
            const MatrixCommand* command = reinterpret_cast<const MatrixCommand*>(at);
            if (now.drain < 0) at += COMMAND;
            Time start = state[now.stream] + 1, hold = now.hold, last = now.last, stretch = 0, told = 0;
            if (dma && (now.unit == loads || now.unit == loads + 1)) {
                if (dma_used == dma_count) {
                    status = 2;
                    return;
                }
                hold = dma[2 * dma_used];
                stretch = hold - now.hold;
                told = dma[2 * dma_used + 1] - now.last;
                last += told;
                dma_used++;
            }
            auto wait = [&](Time time) { start = time > start ? time : start; };
            wait(state[now.unit]);
            for (int32_t i = 0; i < now.reads; i++) {
                wait(state[reads[i].slot] - reads[i].ready);
                wait(state[reads[i].slot + 1] - reads[i].last);
            }
            for (int32_t i = 0; i < now.writes; i++) {
                wait(state[writes[i].slot] - writes[i].ready);
                wait(state[writes[i].slot + 1] - writes[i].last);
                wait(state[writes[i].slot + 2] - writes[i].read);
            }
            MatrixTimes times{};
            if (now.drain > 0) {
                wait(state[program.drain] - now.hold);
                state[program.drain] = start + now.hold + now.drain;
            } else if (now.drain < 0) {
                times = matrix_command(*reinterpret_cast<MatrixState*>(state + program.drain + 1), *command, shape, start);
                hold = times.operands - start;
                if (command->ends) state[program.drain] = times.written + 1;
                last = (command->ends ? times.written : times.operands) - start;
            }
            state[now.stream] = start;
            state[now.unit] = start + hold;
            busy[now.unit - program.streams] += hold;
            for (int32_t i = 0; i < now.reads; i++) {
                Time& read = state[reads[i].slot + 2];
                Time until = now.drain < 0 ? ended(times, reads[i].end) : start + reads[i].end + stretch;
                read = until > read ? until : read;
            }
            for (int32_t i = 0; i < now.writes; i++) {
                if (writes[i].ready_clk >= 0) state[writes[i].slot] = start + writes[i].ready_clk + told;
                if (writes[i].last_clk >= 0) state[writes[i].slot + 1] = now.drain < 0 ? times.written + 1 : start + writes[i].last_clk + told;
            }
            if (watcher) {
                Time* event = events + 4 * filled;
                event[0] = now.number, event[1] = start, event[2] = start + last + 1, event[3] = hold;
                if (++filled == capacity) flush();
                if (status) return;
            }
        }
    }

    // Base time, and the state relative to it that can still delay an instruction of the loop
    Time key(const Loop& loop, Key& key, int64_t phase) {
        Time base = INT64_MAX;
        for (int32_t stream : loop.streams) base = std::min(base, state[stream]);
        Time floors[1 << 7];  // what is past cannot delay any of these streams, however long past it is
        for (Streams together : loop.together) {
            Time floor = INT64_MAX;
            for (int32_t stream = 0; together >> stream; stream++)
                if (together >> stream & 1) floor = std::min(floor, state[stream]);
            floors[together] = floor;
        }
        key.clear();
        key.push_back(phase);
        for (auto& part : loop.keys) {
            Time value = state[part.slot];
            if (part.streams) value = std::max(value, floors[part.streams]);
            key.push_back(value - base);
        }
        return base;
    }

    void summarised(Loop& loop) {
        if (loop.streams.empty()) {  // nothing but renaming
            for (int64_t i = 0; i < loop.count % loop.phases; i++) sequence(*loop.body);
            return;
        }
        Key entry, now;
        Time base = key(loop, entry, 0);
        bool memorable = loop.phases == 1;
        if (memorable) {
            auto known = loop.memo.find(entry);
            if (known != loop.memo.end()) {
                for (size_t i = 0; i < loop.moved.size(); i++) state[loop.moved[i]] = base + known->second[i];
                busy[matrix] += known->second.back();
                return;
            }
        }
        struct Top {
            int64_t done;
            Time at, held;
        };
        std::unordered_map<Key, Top, Hash> seen;
        int64_t done = 0;
        const Time held = busy[matrix];
        while (done < loop.count) {
            if (done) {
                Time at = key(loop, now, done % loop.phases);
                auto found = seen.find(now);
                if (found != seen.end()) {
                    auto [before, before_at, before_held] = found->second;
                    int64_t period = done - before, periods = (loop.count - done) / period;
                    if (periods) {
                        for (int32_t slot : loop.moved) state[slot] += periods * (at - before_at);
                        busy[matrix] += periods * (busy[matrix] - before_held);
                        done += periods * period;
                        seen.clear();
                        continue;
                    }
                }
                seen[now] = {done, at, busy[matrix]};
            }
            sequence(*loop.body);
            done++;
        }
        if (memorable) {
            auto& values = loop.memo[entry];
            for (int32_t slot : loop.moved) values.push_back(state[slot] - base);
            values.push_back(busy[matrix] - held);
        }
    }
};

}  // namespace

// Runs a Program; 0: to its end, 1: the watcher stopped it, 2: more DMA instructions than durations, 3: fewer. With summaries busy is right
// of the unit matrix only: what the others are held is known without. `registers` says of each name whether it is one; `end` is that of everything.
extern "C" int32_t lanewise_run(
    const int32_t* code, int32_t streams, int32_t units, int32_t loads, int32_t matrix, const MatrixShape* shape, int32_t summarise, int64_t* state, int64_t* busy,
    const int64_t* dma, int64_t dma_count, int64_t* events, int64_t capacity, Watcher watcher, const uint8_t* registers, int32_t names, int64_t* counted,
    int64_t* end) {
    const int32_t drain = streams + units, first = drain + 1 + MATRIX_STATE;
    Program program{streams, drain, first + 3 * names, loads, matrix, *reinterpret_cast<Counted*>(counted), 0, {}};
    Touched touched(program.places);
    Body* body = program.parse(code, touched, 1);
    Machine machine{program, summarise != 0, state, busy, dma, dma_count, 0, events, capacity, 0, watcher, loads, matrix, *shape, 0};
    machine.sequence(*body);
    if (!machine.status && watcher) machine.flush();
    if (!machine.status && dma && machine.dma_used != dma_count) return 3;
    // starts are at most one less than the unit's next free clock; readers of buffers may be told to wait for longer
    *end = *std::max_element(state + streams, state + drain + 1);
    for (int32_t name = 0; name < names; name++) {
        const int64_t* times = state + first + 3 * name;
        *end = std::max({*end, times[1], times[2], registers[name] ? 0 : times[0]});
    }
    return machine.status;
}
