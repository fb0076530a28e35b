/* Processes of a run are killed at random times, from a seed. With backups no two servers are dead
 * at once: nothing that was acknowledged may be missing. Without, what is missing are the last
 * pushes before a server's death, and no more than since its last checkpoint. */
#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chaos_command.h"
#include "chaos_run.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/program.h"
#include "common/rng.h"

enum { RUNS_MAX = 1000, VICTIMS = 3 };

struct kills_options {
    uint64_t seed;
    unsigned replicas, kills, runs, at_once;
};

struct kills_result {
    bool ok;
    unsigned kills[VICTIMS]; /* servers, workers, coordinators */
    double seconds;
    double pushes, acknowledged, unknown, lost, loss_seconds, longest_wait_seconds;
    unsigned failover_count;
    struct chaos_failover failovers[CHAOS_FAILOVERS_MAX];
};

/* ---- one run ------------------------------------------------------------------------------------
 */

static void kill_one(struct chaos_run *run, bool first, struct rng *rng,
                     struct kills_result *result)
{
    static const char *const names[] = {"server", "worker", "coordinator"};
    uint64_t choice = rng_below(rng, 10);
    unsigned kind = first || choice < 5 ? 0 : choice < 8 ? 1 : 2;
    uint64_t index = rng_below(rng, kind == 0 ? run->options.servers : run->options.workers);
    char role[32];
    snprintf(role, sizeof role, kind == 2 ? "%s" : "%s-%llu", names[kind],
             (unsigned long long)index);
    if (kind == 0) chaos_run_await_safe(run, NULL);
    if (kind == 1 && run->held) return;
    if (!chaos_run_signal(run, role, SIGKILL)) return; /* it is dead already */
    run->server_kills += kind == 0;
    result->kills[kind]++;
    chaos_say(run, "killed %s", role);
}

static void run_once(uint64_t seed, const struct kills_options *options,
                     struct kills_result *result)
{
    struct rng rng = rng_make(rng_key(seed, 2));
    static struct chaos_run run;
    struct chaos_options chaos = {
        .seed = seed,
        .servers = 2 + (unsigned)rng_below(&rng, 2),
        .workers = 2,
        .replicas = options->replicas,
    };
    chaos_run_start(&run, &chaos);
    for (unsigned i = 0; i < options->kills; i++) {
        chaos_run_pass(&run, 0.05 + 2.0 * (double)rng_float(&rng));
        kill_one(&run, i == 0, &rng, result);
    }
    chaos_run_await_safe(&run, NULL);
    chaos_run_finish(&run);
    const char *job = run.job.out;
    result->pushes = json_number(job, NULL, "pushes");
    result->acknowledged = json_number(job, NULL, "acknowledged");
    result->unknown = json_number(job, NULL, "unknown");
    result->lost = json_number(job, NULL, "lost");
    result->loss_seconds = json_number(job, NULL, "loss_seconds");
    result->longest_wait_seconds = json_number(job, NULL, "longest_wait_seconds");
    result->failover_count = run.failover_count;
    memcpy(result->failovers, run.failovers, sizeof run.failovers);
    result->seconds = (double)(clock_now_ns() - run.started_ns) * 1e-9;
    result->ok = true;
    chaos_run_deinit(&run);
}

/* ---- the summary --------------------------------------------------------------------------------
 */

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void print_distribution(const char *name, double *values, unsigned count)
{
    printf(",\"%s\":{\"count\":%u", name, count);
    if (count > 0) {
        qsort(values, count, sizeof *values, compare);
        printf(",\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"max\":%.3f", values[count / 2],
               values[count * 9 / 10], values[count * 99 / 100], values[count - 1]);
    }
    printf("}");
}

static void print_summary(const struct kills_options *options, const struct kills_result *results)
{
    static double silences[RUNS_MAX * CHAOS_FAILOVERS_MAX],
        decisions[RUNS_MAX * CHAOS_FAILOVERS_MAX], waits[RUNS_MAX], losses[RUNS_MAX],
        seconds[RUNS_MAX];
    unsigned failovers = 0, ok = 0, kills[VICTIMS] = {0};
    double pushes = 0, acknowledged = 0, unknown = 0, lost = 0;
    for (unsigned i = 0; i < options->runs; i++) {
        const struct kills_result *result = &results[i];
        if (!result->ok) continue;
        for (unsigned j = 0; j < VICTIMS; j++)
            kills[j] += result->kills[j];
        for (unsigned j = 0; j < result->failover_count; j++, failovers++) {
            silences[failovers] = result->failovers[j].silence_seconds;
            decisions[failovers] = result->failovers[j].decision_seconds;
        }
        pushes += result->pushes;
        acknowledged += result->acknowledged;
        unknown += result->unknown;
        lost += result->lost;
        waits[ok] = result->longest_wait_seconds;
        losses[ok] = result->loss_seconds;
        seconds[ok++] = result->seconds;
    }
    printf("{\"replicas\":%u,\"runs\":%u,\"ok\":%u,\"server_kills\":%u,\"worker_kills\":%u,"
           "\"coordinator_kills\":%u,\"failovers\":%u,\"pushes\":%.0f,\"acknowledged\":%.0f,"
           "\"unknown\":%.0f,\"lost\":%.0f",
           options->replicas, options->runs, ok, kills[0], kills[1], kills[2], failovers, pushes,
           acknowledged, unknown, lost);
    print_distribution("failover_decision_seconds", decisions, failovers);
    print_distribution("failover_silence_seconds", silences, failovers);
    print_distribution("longest_wait_seconds", waits, ok);
    print_distribution("loss_seconds", losses, ok);
    print_distribution("run_seconds", seconds, ok);
    printf("}\n");
}

/* ---- many runs, each in a process of its own ----------------------------------------------------
 */

static unsigned run_all(const struct kills_options *options, struct kills_result *results)
{
    unsigned started = 0, running = 0, failed = 0;
    while (started < options->runs || running > 0) {
        if (started < options->runs && running < options->at_once) {
            pid_t pid = fork();
            CHECK(pid >= 0);
            if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGTERM);
                run_once(options->seed + started, options, &results[started]);
                exit(0);
            }
            started++;
            running++;
            continue;
        }
        int wait_status;
        if (wait(&wait_status) < 0) {
            if (program_stop_requested()) exit(1);
            continue;
        }
        running--;
        failed += !WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0;
    }
    for (unsigned i = 0; i < options->runs; i++) {
        if (results[i].ok) continue;
        fprintf(stderr, "again: anthill-chaos kills --replicas %u --kills %u --seed %llu\n",
                options->replicas, options->kills, (unsigned long long)(options->seed + i));
    }
    return failed;
}

enum { KEY_SEED = 256, KEY_REPLICAS, KEY_KILLS, KEY_RUNS, KEY_AT_ONCE };

static unsigned number(const char *argument, unsigned least, unsigned most,
                       struct argp_state *state)
{
    char *end = NULL;
    unsigned long value = strtoul(argument, &end, 10);
    if (end == argument || *end != '\0' || value < least || value > most)
        argp_error(state, "%s: expected %u to %u", argument, least, most);
    return (unsigned)value;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct kills_options *options = state->input;
    switch (key) {
    case KEY_SEED:
        options->seed = number(argument, 0, UINT32_MAX, state);
        return 0;
    case KEY_REPLICAS:
        options->replicas = number(argument, 1, 2, state);
        return 0;
    case KEY_KILLS:
        options->kills = number(argument, 0, 1000, state);
        return 0;
    case KEY_RUNS:
        options->runs = number(argument, 1, RUNS_MAX, state);
        return 0;
    case KEY_AT_ONCE:
        options->at_once = number(argument, 1, 16, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option argp_options[] = {
    {"seed", KEY_SEED, "N", 0, "of the first run (default: by the clock)", 0},
    {"replicas", KEY_REPLICAS, "N", 0, "servers.replicas, 1 or 2 (default 2)", 0},
    {"kills", KEY_KILLS, "N", 0, "in each run (default 4)", 0},
    {"runs", KEY_RUNS, "N", 0, "with seeds one after the other (default 1)", 0},
    {"at-once", KEY_AT_ONCE, "N", 0, "runs at the same time (default 1)", 0},
    {0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc = "Kills processes of runs at random times. Prints one JSON object for all runs.",
};

int chaos_kills(int argc, char **argv)
{
    struct kills_options options = {
        .seed = clock_wall_ns() % 1000000, .replicas = 2, .kills = 4, .runs = 1, .at_once = 1};
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    size_t bytes = options.runs * sizeof(struct kills_result);
    struct kills_result *results =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(results != MAP_FAILED);
    unsigned failed = run_all(&options, results);
    print_summary(&options, results);
    munmap(results, bytes);
    return failed == 0 ? 0 : 1;
}
