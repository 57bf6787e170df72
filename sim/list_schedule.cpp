// Greedy list scheduling of straight-line vector code: lanewise.sim.reference_schedule on the numbers that lanewise.sim.list_schedule makes.
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace {

using Time = int64_t;
constexpr Time NEVER = INT64_MIN / 2;  // what waits for it does not wait

struct Head {
    int32_t unit, beats, lands, last, sew, vl, adds, reads, writes;  // sew 0: any; vl -1: neither matters; adds: 0 of a multiply-add
};
struct Read {
    int32_t name, before, whole, until, buffer;  // start >= ready - before, or >= last; has read at start + until; a buffer orders nothing
};
struct Write {
    int32_t name, credit, ready, buffer;
};

struct Item {
    const Head* head;
    const Read* reads;
    const Write* writes;
};

struct Name {
    Time ready, last, read;
};

struct Code {
    std::vector<Item> items;
    std::vector<std::vector<int32_t>> followers;
    std::vector<int32_t> waits;

    Code(const int32_t* at, int64_t count, int32_t names) : followers(count), waits(count) {
        for (int64_t i = 0; i < count; i++) {
            Item item{};
            item.head = reinterpret_cast<const Head*>(at);
            item.reads = reinterpret_cast<const Read*>(at + sizeof(Head) / 4);
            item.writes = reinterpret_cast<const Write*>(item.reads + item.head->reads);
            at = reinterpret_cast<const int32_t*>(item.writes + item.head->writes);
            items.push_back(item);
        }
        depend(names);
    }

    // Read after write, write after read, write after write, through all names but buffers
    void depend(int32_t names) {
        std::vector<int32_t> writer(names, -1);
        std::vector<std::vector<int32_t>> readers(names);
        for (int32_t i = 0; i < static_cast<int32_t>(items.size()); i++) {
            const Item& item = items[i];
            for (int32_t k = 0; k < item.head->reads; k++) {
                const Read& read = item.reads[k];
                if (read.buffer) continue;
                if (writer[read.name] >= 0) followers[writer[read.name]].push_back(i);
                readers[read.name].push_back(i);
            }
            for (int32_t k = 0; k < item.head->writes; k++) {
                const Write& write = item.writes[k];
                if (write.buffer) continue;
                if (writer[write.name] >= 0) followers[writer[write.name]].push_back(i);
                for (int32_t reader : readers[write.name])
                    if (reader != i) followers[reader].push_back(i);
                readers[write.name].clear();
                writer[write.name] = i;
            }
        }
        for (auto& group : followers) {
            std::sort(group.begin(), group.end());
            group.erase(std::unique(group.begin(), group.end()), group.end());
            for (int32_t follower : group) waits[follower]++;
        }
    }

    // From each instruction's start to the first beat of the last result that depends on it
    std::vector<Time> heights() const {
        std::vector<Time> height(items.size());
        for (size_t i = items.size(); i-- > 0;) {
            for (int32_t follower : followers[i]) height[i] = std::max(height[i], height[follower]);
            height[i] += items[i].head->lands;
        }
        return height;
    }
};

// The recurrence of lanewise.sim.engine for the vector stream
struct Machine {
    std::vector<Name> names;
    std::vector<Time> unit;
    Time issue = -1, end = 0;
    int32_t sew = 0, vl = -1;
    bool placed = false;

    Machine(int32_t names, int32_t units) : names(names, {NEVER, NEVER, NEVER}), unit(units) {}

    Time start(const Item& item) const {
        const Head& head = *item.head;
        bool sets = placed && (head.vl != vl || (head.sew && head.sew != sew));
        Time start = std::max(issue + 1 + sets, unit[head.unit]);
        for (int32_t i = 0; i < head.reads; i++) {
            const Read& read = item.reads[i];
            const Name& name = names[read.name];
            start = std::max(start, read.whole ? name.last : name.ready - read.before);
        }
        for (int32_t i = 0; i < head.writes; i++) {
            const Write& write = item.writes[i];
            const Name& name = names[write.name];
            start = std::max({start, name.read - write.credit, name.last + (write.credit > 0) - write.credit});
        }
        return start;
    }

    void place(const Item& item, Time start) {
        const Head& head = *item.head;
        if (head.sew || !placed) sew = head.sew;
        vl = std::max(head.vl, 0);
        placed = true;
        issue = start;
        unit[head.unit] = start + head.beats;
        end = std::max(end, unit[head.unit]);
        for (int32_t i = 0; i < head.reads; i++) {
            Time& read = names[item.reads[i].name].read;
            read = std::max(read, start + item.reads[i].until);
        }
        for (int32_t i = 0; i < head.writes; i++) {
            Name& name = names[item.writes[i].name];
            name.ready = start + item.writes[i].ready, name.last = start + head.last;
        }
    }
};

using Urgency = std::vector<std::pair<Time, int32_t>>;

// The clock in which the last unit is free; what is ready never starts earlier than it would have before, so that only what may be first is asked
Time listed(const Code& code, Machine machine, const Urgency& urgency, int32_t* order) {
    struct Ready {
        Time start;
        int32_t index;
    };
    std::vector<int32_t> left = code.waits;
    std::vector<Ready> ready;
    for (size_t i = 0; i < left.size(); i++)
        if (!left[i]) ready.push_back({0, static_cast<int32_t>(i)});
    while (!ready.empty()) {
        size_t best = ready.size();
        for (size_t i = 0; i < ready.size(); i++) {
            auto before = [&] {
                const Ready& one = ready[i];
                return best == ready.size() || one.start < ready[best].start ||
                       (one.start == ready[best].start && urgency[one.index] < urgency[ready[best].index]);
            };
            if (!before()) continue;
            ready[i].start = machine.start(code.items[ready[i].index]);
            if (before()) best = i;
        }
        auto [start, index] = ready[best];
        ready[best] = ready.back();
        ready.pop_back();
        machine.place(code.items[index], start);
        *order++ = index;
        for (int32_t follower : code.followers[index])
            if (!--left[follower]) ready.push_back({0, follower});
    }
    return machine.end;
}

}  // namespace

// Of `count` instructions the better of two orders, the first where they are as good: urgent are multiply-adds, then what comes first; or what has
// the longest way to the end.
extern "C" void lanewise_schedule(const int32_t* numbers, int64_t count, int32_t names, int32_t units, int32_t* order) {
    Code code(numbers, count, names);
    std::vector<Time> height = code.heights();
    Urgency staggered, urgent;
    for (int32_t i = 0; i < count; i++) {
        staggered.emplace_back(code.items[i].head->adds, i);
        urgent.emplace_back(-height[i], i);
    }
    Machine machine(names, units);
    std::vector<int32_t> other(count);
    Time first = listed(code, machine, staggered, order), second = listed(code, machine, urgent, other.data());
    if (second < first) std::copy(other.begin(), other.end(), order);
}
