/* The run: what kind it is, its processes and their clocks, faults, and the loop. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_wrap.h"

#define BUDGET_NS  (300 * SIM_S) /* from the last fault to the end of everything */
#define STEPS_MAX  1000000
#define FAULTS_MAX 24

struct sim sim;

/* ---- what is said --------------------------------------------------------------------------- */

const char *const canary_names[CANARIES] = {
    [CANARY_NONE] = "",
    [CANARY_NO_WINDOW] = "no-window",
    [CANARY_RENAME_FIRST] = "rename-first",
    [CANARY_EARLY_ANSWER] = "early-answer",
    [CANARY_NO_FENCE] = "no-fence",
};

static void say_replay(void)
{
    const char *canary = canary_names[sim.canary];
    fprintf(stderr, "replay: anthill-sim%s%s --seed %" PRIu64 " --trace\n",
            *canary != 0 ? "-canary --canary " : "", canary, sim.seed);
    fflush(NULL);
}

void sim_fail(const char *format, ...)
{
    va_list args;
    fflush(stdout);
    fprintf(stderr, "seed %" PRIu64 " fails at %.6f s: ", sim.seed, (double)sim.now_ns * 1e-9);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    say_replay();
    _Exit(1);
}

void __wrap_check_failed(const char *condition, const char *file, int line)
{
    sim_fail("%s:%d: CHECK(%s)", file, line, condition);
}

static void hash(uint64_t value)
{
    sim.hash = rng_key(sim.hash, value);
}

static void hash_text(const char *text)
{
    uint64_t sum = 0;
    for (; *text != 0; text++)
        sum = sum * 131 + (unsigned char)*text;
    hash(sum);
}

static void say_where(const struct process *process)
{
    printf("%12.6f %-12s ", (double)sim.now_ns * 1e-9, process == NULL ? "" : process->name);
}

void sim_trace(const struct process *process, const char *event, uint64_t a, uint64_t b, uint64_t c)
{
    hash(sim.now_ns);
    hash_text(event);
    hash(a);
    hash(b);
    hash(c);
    if (!sim.trace) return;
    say_where(process);
    printf("%s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", event, a, b, c);
}

void sim_trace_message(const struct process *process, const char *event,
                       const Anthill__Envelope *envelope)
{
    hash(sim.now_ns);
    hash_text(event);
    hash((uint64_t)envelope->body_case);
    hash(envelope->request);
    hash(envelope->session);
    hash(envelope->sequence);
    if (!sim.trace) return;
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(
        &anthill__envelope__descriptor, (unsigned)envelope->body_case);
    say_where(process);
    printf("%s %s request=%" PRIu64 " session=%" PRIu64 " sequence=%" PRIu64 " map=%" PRIu64
           "%s%s\n",
           event, field == NULL ? "?" : field->name, envelope->request, envelope->session,
           envelope->sequence, envelope->map_version,
           envelope->body_case == ANTHILL__ENVELOPE__BODY_ERROR ? " " : "",
           envelope->body_case == ANTHILL__ENVELOPE__BODY_ERROR ? envelope->error->text : "");
}

/* The log lines of production code are lines of the trace. */
__attribute__((format(printf, 3, 4))) void __wrap_log_event(enum log_level level, const char *event,
                                                            const char *format, ...)
{
    (void)level;
    hash_text(event);
    if (!sim.trace) return;
    va_list args;
    va_start(args, format);
    say_where(sim.current);
    printf("log %s ", event);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
}

bool sim_chance(uint32_t in_thousand)
{
    return in_thousand > 0 && rng_below(&sim.rng, 1000) < in_thousand;
}

uint64_t sim_between(uint64_t low, uint64_t high)
{
    return high <= low ? low : low + rng_below(&sim.rng, high - low);
}

/* ---- processes ------------------------------------------------------------------------------ */

uint64_t process_now(const struct process *process)
{
    int64_t drift = (int64_t)(sim.now_ns / 1000) * process->drift_ppm / 1000; /* never back */
    return process->offset_ns + sim.now_ns + (uint64_t)drift;
}

/* Code that looks at the clock to see how long it took finds that some time has gone. */
uint64_t current_now(void)
{
    CHECK(sim.current != NULL);
    sim.current->offset_ns += 20000;
    return process_now(sim.current);
}

static bool count_step(bool counts)
{
    struct process *process = sim.current;
    if (process->dying) return true;
    if (!counts || process->steps_left == 0 || --process->steps_left > 0) return false;
    process->dying = true;
    return true;
}

bool process_step(void)
{
    return count_step(!sim.current->in_files);
}

bool process_file_step(bool writes)
{
    return count_step(writes || !sim.current->in_files);
}

void process_wake(struct process *process, uint64_t in_ns)
{
    uint64_t at_ns = sim.now_ns + in_ns;
    if (at_ns < sim.now_ns) at_ns = UINT64_MAX;
    if (at_ns < process->wake_ns) process->wake_ns = at_ns;
}

static void kill_process(struct process *process)
{
    process->dying = true; /* what its end still calls does nothing */
    sim.current = process;
    if (process->role == ROLE_COORDINATOR) coordinator_kill(process);
    if (process->role == ROLE_SERVER) server_kill(process);
    if (process->role == ROLE_WORKER) worker_kill(process);
    sim.current = NULL;
    disk_close_all(process);
    process->up = process->dying = false;
    process->steps_left = 0;
    process->wake_ns = UINT64_MAX;
}

static void crash(struct process *process)
{
    sim_trace(process, process->loses ? "machine dies" : "dies", process->generation, 0, 0);
    kill_process(process);
    if (process->loses) disk_crash(process);
    process->loses = false;
    process->start_ns = sim.now_ns + sim_between(50 * SIM_MS, 2 * SIM_S);
}

void process_end(struct process *process, bool failed)
{
    sim_trace(process, failed ? "fails" : "ends", process->generation, 0, 0);
    kill_process(process);
    process->finished = !failed;
    process->start_ns = failed ? sim.now_ns + 300 * SIM_MS : UINT64_MAX;
}

static void start(struct process *process)
{
    process->up = true;
    process->generation++;
    process->start_ns = UINT64_MAX;
    process->wake_ns = sim.now_ns;
    process->offset_ns += sim_between(1, SIM_S); /* no two starts at the same time */
    sim_trace(process, "starts", process->generation, 0, 0);
    sim.current = process;
    if (process->role == ROLE_COORDINATOR) coordinator_start(process);
    if (process->role == ROLE_SERVER) server_start(process);
    if (process->role == ROLE_WORKER) worker_start(process);
    sim.current = NULL;
}

static void turn(struct process *process)
{
    process->wake_ns = UINT64_MAX;
    sim.current = process;
    if (process->role == ROLE_COORDINATOR) coordinator_turn(process);
    if (process->role == ROLE_SERVER) server_turn(process);
    if (process->role == ROLE_WORKER) worker_turn(process);
    sim.current = NULL;
}

/* ---- faults --------------------------------------------------------------------------------- */

static struct fault {
    uint64_t at_ns;
} faults[FAULTS_MAX];
static uint32_t fault_count, fault_next;

static void choose_faults(void)
{
    fault_count = (uint32_t)sim_between(0, FAULTS_MAX + 1);
    if (sim_chance(100)) fault_count = 0;
    for (uint32_t i = 0; i < fault_count; i++) {
        uint64_t at_ns = sim_between(100 * SIM_MS, sim.heal_ns);
        uint32_t place = i;
        for (; place > 0 && faults[place - 1].at_ns > at_ns; place--)
            faults[place] = faults[place - 1];
        faults[place].at_ns = at_ns;
    }
    fault_next = 0;
}

/* A server and a worker do not hear the coordinator for so long that it takes them for dead, but
 * each other and the rest: they go on by an old map. */
static void leave_behind(void)
{
    uint64_t until_ns = sim.now_ns + sim_between(3 * SIM_S, 6 * SIM_S);
    uint32_t server = 1 + (uint32_t)sim_between(0, sim.servers);
    uint32_t worker = 1 + sim.servers + (uint32_t)sim_between(0, sim.workers);
    if (until_ns > sim.heal_ns) until_ns = sim.heal_ns;
    bool lost = sim_chance(500);
    net_part(server, 0, until_ns, lost);
    net_part(0, server, until_ns, lost);
    net_part(worker, 0, until_ns, lost);
    net_part(0, worker, until_ns, lost);
}

static void fault(void)
{
    struct process *process = &sim.processes[sim_between(0, sim.process_count)];
    const struct process *other = &sim.processes[sim_between(0, sim.process_count)];
    uint64_t for_ns = sim_between(10 * SIM_MS, 4 * SIM_S);
    uint64_t until_ns = sim.now_ns + for_ns < sim.heal_ns ? sim.now_ns + for_ns : sim.heal_ns;
    uint64_t kind = sim_between(0, 13);
    if (kind == 3) process = &sim.processes[0]; /* what it forgets, all forget */
    sim_trace(process, "fault", kind, other->index, until_ns);
    switch (kind) {
    case 0:
    case 1:
    case 2:
    case 3: /* dies, now or in the middle of something soon */
        if (!process->up || process->steps_left > 0) break;
        process->loses = kind == 3 || sim_chance(500);
        process->in_files = process->role != ROLE_WORKER && (kind == 3 || sim_chance(500));
        process->steps_left = sim_between(1, sim_chance(500) ? 8 : process->in_files ? 60 : 200);
        break;
    case 4: /* neither hears the other */
        net_part(process->index, other->index, until_ns, sim_chance(500));
        net_part(other->index, process->index, until_ns, sim_chance(500));
        break;
    case 5: /* one way */
        net_part(process->index, other->index, until_ns, sim_chance(500));
        break;
    case 6: /* nobody hears it */
        for (uint32_t i = 0; i < sim.process_count; i++)
            net_part(process->index, i, until_ns, sim_chance(500));
        break;
    case 7:
        for (uint32_t slot = 0; slot < CONNECTIONS_MAX; slot++)
            net_clog(process->index, slot, sim_chance(700) ? until_ns : 0);
        break;
    case 8:
        net_reset(process->index, (uint32_t)sim_between(0, CONNECTIONS_MAX));
        break;
    case 9:
        process->paused_until_ns = until_ns;
        break;
    case 10:
        process->disk_faults_until_ns = until_ns;
        break;
    case 11:
        leave_behind();
        break;
    default:
        process->disk_full_until_ns = until_ns;
        break;
    }
}

static void heal(void)
{
    sim_trace(NULL, "healed", 0, 0, 0);
    sim.loss = sim.repeat = sim.reorder = 0;
    sim.delay_ns = 2 * SIM_MS;
    for (uint32_t i = 0; i < sim.process_count; i++)
        sim.processes[i].steps_left = 0;
}

/* ---- the run -------------------------------------------------------------------------------- */

static void add_processes(enum role role, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++) {
        struct process *process = &sim.processes[sim.process_count];
        *process = (struct process){.role = role,
                                    .index = sim.process_count++,
                                    .number = i,
                                    .start_ns = sim_between(0, 100 * SIM_MS),
                                    .wake_ns = UINT64_MAX,
                                    .offset_ns = sim_between(SIM_S, 1000 * SIM_S),
                                    .drift_ppm = (int64_t)sim_between(0, 2001) - 1000};
        snprintf(process->name, sizeof process->name, "%s-%u", name, i);
    }
}

static void choose_run(uint64_t seed, bool trace, enum canary canary)
{
    sim = (struct sim){.seed = seed,
                       .rng = rng_make(rng_key(0x616e74, seed)),
                       .trace = trace,
                       .canary = canary,
                       .timeout_ns = 60 * SIM_S};
    sim.servers = (uint32_t)sim_between(1, SERVERS_MAX + 1);
    sim.threads = (uint32_t)sim_between(1, THREADS_MAX + 1);
    sim.workers = (uint32_t)sim_between(1, WORKERS_MAX + 1);
    sim.shards = sim.servers * sim.threads;
    sim.replicas = sim.servers > 1 && sim_chance(500) ? 2 : 1;
    sim.slots = (uint32_t)sim_between(sim.shards, 3 * sim.shards);
    sim.epochs = (uint32_t)sim_between(1, 4);
    sim.seeds = (uint32_t)sim_between(8, 30);
    sim.lease = (uint32_t)sim_between(2, 8);
    sim.batch = (uint32_t)sim_between(1, sim.lease + 1);
    bool calm = sim_chance(200);
    sim.loss = calm ? 0 : (uint32_t)sim_between(0, 100);
    sim.repeat = calm ? 0 : (uint32_t)sim_between(0, 100);
    sim.reorder = calm ? 0 : (uint32_t)sim_between(0, 300);
    sim.delay_ns = sim_between(1, calm ? 10 : 2000) * SIM_MS;
    sim.heal_ns = sim_between(2, 12) * SIM_S;
    add_processes(ROLE_COORDINATOR, 1, "coordinator");
    add_processes(ROLE_SERVER, sim.servers, "server");
    add_processes(ROLE_WORKER, sim.workers, "worker");
    choose_faults();
}

/* The process whose turn, or start, is next; NULL: none has one. */
static struct process *next_process(uint64_t *at_ns)
{
    struct process *next = NULL;
    *at_ns = UINT64_MAX;
    for (uint32_t i = 0; i < sim.process_count; i++) {
        struct process *process = &sim.processes[i];
        if (process->finished) continue;
        uint64_t due_ns = process->up ? process->wake_ns : process->start_ns;
        if (process->up && due_ns < process->paused_until_ns) due_ns = process->paused_until_ns;
        if (due_ns >= *at_ns) continue;
        *at_ns = due_ns;
        next = process;
    }
    return next;
}

static bool is_over(void)
{
    for (uint32_t i = 0; i < sim.process_count; i++) {
        if (!sim.processes[i].finished) return false;
    }
    return true;
}

/* What ends at the end of a run without being told: launch.sh stops servers that have not heard,
 * and nobody starts workers again. */
static void stop_the_rest(void)
{
    if (!sim.run_over) sim.over_ns = sim.now_ns;
    if (!sim.run_over || sim.now_ns - sim.over_ns < 5 * SIM_S) return;
    for (uint32_t i = 0; i < sim.process_count; i++) {
        struct process *process = &sim.processes[i];
        if (!process->finished && process->role != ROLE_COORDINATOR) process_end(process, false);
    }
}

static void step(void)
{
    uint64_t at_ns = 0, packet_ns = net_due();
    struct process *process = next_process(&at_ns);
    uint64_t fault_ns = fault_next < fault_count ? faults[fault_next].at_ns : UINT64_MAX;
    uint64_t heal_ns = sim.now_ns < sim.heal_ns ? sim.heal_ns : UINT64_MAX;
    uint64_t first_ns = at_ns < packet_ns ? at_ns : packet_ns;
    if (fault_ns < first_ns) first_ns = fault_ns;
    if (heal_ns <= first_ns) first_ns = heal_ns;
    if (first_ns > sim.now_ns) sim.now_ns = first_ns;
    if (first_ns == heal_ns) {
        heal();
    } else if (first_ns == fault_ns) {
        fault_next++;
        fault();
    } else if (first_ns == packet_ns) {
        net_deliver();
    } else if (process->up) {
        turn(process);
    } else {
        start(process);
    }
    for (uint32_t i = 0; i < sim.process_count; i++) {
        if (sim.processes[i].dying) crash(&sim.processes[i]);
    }
    stop_the_rest();
}

static void check_budget(void)
{
    if (++sim.steps < STEPS_MAX && sim.now_ns < sim.heal_ns + BUDGET_NS) return;
    for (uint32_t i = 0; i < sim.process_count; i++) {
        const struct process *process = &sim.processes[i];
        if (process->finished) continue;
        fprintf(stderr, "%s is %s: %s\n", process->name, process->up ? "up" : "down",
                process->role == ROLE_WORKER ? worker_state(process) : "not over");
    }
    sim_fail("after %" PRIu64 " steps, %.0f s after the last fault, the run has not ended",
             sim.steps, ((double)sim.now_ns - (double)sim.heal_ns) * 1e-9);
}

void sim_run(uint64_t seed, bool trace, enum canary canary)
{
    choose_run(seed, trace, canary);
    sim_trace(NULL, "run of servers, threads, workers", sim.servers, sim.threads, sim.workers);
    sim_trace(NULL, "epochs, seeds, lease", sim.epochs, sim.seeds, sim.lease);
    net_init();
    disk_init();
    model_init();
    coordinator_init();
    server_init();
    worker_init();
    while (!is_over()) {
        step();
        check_budget();
    }
    coordinator_deinit();
    model_deinit();
    disk_deinit();
    net_deinit();
    pages_give_back();
}
