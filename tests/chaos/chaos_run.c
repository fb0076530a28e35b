#include "chaos_run.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/program.h"
#include "common/rng.h"
#include "common/text.h"

#define DEADLINE_SECONDS 120.0
#define TURN_SECONDS     0.1
#define HOLD_AT          0.6 /* of the run's epochs */

enum { NODES = 600, EDGES_PER_NODE = 4, FEATURES = 8, EPOCHS = 600 };

/* The run that this process does, to be ended with it. */
static struct chaos_run *current;

/* ---- saying -------------------------------------------------------------------------------------
 */

static void say(const struct chaos_run *run, const char *format, va_list arguments)
{
    double seconds = run->started_ns != 0 ? (double)(clock_now_ns() - run->started_ns) * 1e-9 : 0;
    char text[1024];
    vsnprintf(text, sizeof text, format, arguments);
    fprintf(stderr, "seed %llu %7.2f s  %s\n", (unsigned long long)run->options.seed, seconds,
            text);
}

void chaos_say(const struct chaos_run *run, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(run, format, arguments);
    va_end(arguments);
}

static void end_processes(struct chaos_run *run)
{
    process_deinit(&run->job);
    process_deinit(&run->launch);
    for (unsigned i = 0; i < run->member_count; i++)
        process_deinit(&run->members[i]);
}

void chaos_fail(struct chaos_run *run, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(run, format, arguments);
    va_end(arguments);
    chaos_say(run, "FAILED; logs are in %s", run->run_dir);
    end_processes(run);
    exit(1);
}

void chaos_nap(double seconds)
{
    if (program_stop_requested() && current != NULL) chaos_fail(current, "asked to stop");
    poll(NULL, 0, (int)(seconds * 1e3));
}

/* ---- graph and configuration --------------------------------------------------------------------
 */

static void write_text(struct chaos_run *run, const char *name, struct text *text)
{
    char path[256];
    struct error error;
    snprintf(path, sizeof path, "%s/%s", run->folder, name);
    if (file_write_atomic(path, text->data, text->bytes, &error) != STATUS_OK)
        chaos_fail(run, "%s", error.text);
    text_deinit(text);
}

/* A node's label is the sign of its first feature, more or less. */
static void write_graph(struct chaos_run *run)
{
    struct rng rng = rng_make(rng_key(run->options.seed, 1));
    struct text nodes = {0}, edges = {0};
    text_add(&nodes, "id,label,split");
    for (unsigned i = 0; i < FEATURES; i++)
        text_add(&nodes, ",f%u", i);
    text_add(&nodes, "\n");
    text_add(&edges, "src,dst\n");
    for (unsigned node = 0; node < NODES; node++) {
        static const char *const splits[] = {"train", "train", "valid", "test"};
        float first = rng_normal(&rng);
        text_add(&nodes, "%u,%d,%s,%.4f", node, first + 0.3f * rng_normal(&rng) > 0,
                 splits[node % 4], (double)first);
        for (unsigned i = 1; i < FEATURES; i++)
            text_add(&nodes, ",%.4f", (double)rng_normal(&rng));
        text_add(&nodes, "\n");
        for (unsigned i = 0; i < EDGES_PER_NODE; i++)
            text_add(&edges, "%u,%u\n", node, (unsigned)rng_below(&rng, NODES));
    }
    write_text(run, "nodes.csv", &nodes);
    write_text(run, "edges.csv", &edges);
}

static void write_config(struct chaos_run *run)
{
    const struct chaos_options *options = &run->options;
    struct text text = {0};
    text_add(&text, "run: {name: chaos, dir: %s, seed: %llu}\n", run->run_dir,
             (unsigned long long)options->seed);
    text_add(&text,
             "graph:\n  path: %s/graph\n"
             "  import: edges --edges %s/edges.csv --header --nodes %s/nodes.csv --symmetric\n",
             run->folder, run->folder, run->folder);
    text_add(&text, "sampler: {fanouts: [4, 4]}\n"
                    "model:\n  embedding: 8\n  layers:\n"
                    "    - {type: sage, units: 16}\n    - {type: relu}\n"
                    "    - {type: sage, units: 0}\n");
    text_add(&text, "train: {epochs: %u, batch: 30, evaluate_every: 50}\n", options->epochs);
    text_add(&text, "servers: {count: %u, replicas: %u}\n", options->servers, options->replicas);
    text_add(&text, "workers: {count: %u, lease_seconds: 2}\n", options->workers);
    text_add(&text, "checkpoint: {every_seconds: 2}\n"
                    "network: {timeout_seconds: 60, dead_seconds: 2}\n");
    write_text(run, "chaos.yaml", &text);
}

void chaos_run_prepare(struct chaos_run *run, const struct chaos_options *options)
{
    *run = (struct chaos_run){.options = *options, .started_ns = clock_now_ns()};
    if (run->options.epochs == 0) run->options.epochs = EPOCHS;
    current = run;
    char folder[64];
    snprintf(run->folder, sizeof run->folder, "%s",
             options->folder != NULL ? options->folder : temporary_folder(folder));
    snprintf(run->run_dir, sizeof run->run_dir, "%s/run", run->folder);
    snprintf(run->config, sizeof run->config, "%s/chaos.yaml", run->folder);
    write_graph(run);
    write_config(run);
}

/* ---- status -------------------------------------------------------------------------------------
 */

static void take_failovers(struct chaos_run *run, unsigned shard, const char *entry)
{
    unsigned count = (unsigned)json_number(entry, NULL, "failovers");
    if (count <= run->shard_failovers[shard]) return;
    run->shard_failovers[shard] = count;
    if (run->failover_count == CHAOS_FAILOVERS_MAX) return;
    run->failovers[run->failover_count++] = (struct chaos_failover){
        .silence_seconds = json_number(entry, NULL, "failover_seconds"),
        .decision_seconds = json_number(entry, NULL, "failover_decision_seconds"),
    };
}

/* Each object of the array `name`, whose objects have none within. */
static void read_objects(struct chaos_run *run, const char *json, const char *name,
                         struct chaos_status *status)
{
    bool shards = strcmp(name, "\"shards\":[") == 0;
    const char *at = strstr(json, name), *end = at != NULL ? strchr(at + strlen(name), ']') : NULL;
    for (unsigned i = 0; end != NULL && i < CHAOS_SHARDS_MAX; i++) {
        at = strchr(at, '{');
        if (at == NULL || at > end) return;
        size_t bytes = strcspn(at, "}");
        char *entry = strndup(at, bytes);
        CHECK(entry != NULL);
        at += bytes;
        if (!shards) {
            status->safe &= strstr(entry, "\"state\":\"ready\"") != NULL;
        } else {
            status->serving &= strstr(entry, "\"ready\":true") != NULL;
            if (run->options.replicas > 1) {
                status->safe &= strstr(entry, "\"complete\":true") != NULL;
                status->failovers += (unsigned)json_number(entry, NULL, "failovers");
                take_failovers(run, i, entry);
            }
        }
        free(entry);
    }
}

bool chaos_run_status(struct chaos_run *run, struct chaos_status *status)
{
    char program[256];
    struct process process = {0};
    snprintf(program, sizeof program, "%s/anthill-ps", bin_dir());
    const char *argv[16];
    unsigned count = 0;
    for (const char *const *word = run->status_prefix; word != NULL && *word != NULL; word++)
        argv[count++] = *word;
    const char *command[] = {program, "status", "--json", run->run_dir, NULL};
    memcpy(&argv[count], command, sizeof command);
    bool answered = process_run(&process, NULL, 30, argv) == 0 &&
                    strstr(process.out, "\"map_version\":") != NULL;
    *status = (struct chaos_status){0};
    if (answered) {
        const char *json = process.out;
        *status = (struct chaos_status){
            .map_version = (uint64_t)json_number(json, NULL, "map_version"),
            .checkpoint = (uint64_t)json_number(json, "\"checkpoints\":", "latest"),
            .progress = json_number(json, NULL, "progress"),
            .servers_restarted = (unsigned)json_number(json, NULL, "servers_restarted"),
            .workers_lost = (unsigned)json_number(json, NULL, "workers_lost"),
            .checkpoints_failed = (unsigned)json_number(json, "\"checkpoints\":", "failed"),
            .serving = true,
            .safe = true,
        };
        read_objects(run, json, "\"shards\":[", status);
        read_objects(run, json, "\"threads\":[", status);
        status->safe &= status->serving;
    }
    process_deinit(&process);
    return answered;
}

static void signal_workers(struct chaos_run *run, int signal_number)
{
    for (unsigned i = 0; i < run->options.workers; i++) {
        char role[32];
        snprintf(role, sizeof role, "worker-%u", i);
        (void)chaos_run_signal(run, role, signal_number);
    }
}

/* The epoch of the last line of metrics.jsonl. */
static double epoch_now(const struct chaos_run *run)
{
    char path[256];
    char *text = NULL;
    size_t bytes = 0;
    snprintf(path, sizeof path, "%s/metrics.jsonl", run->run_dir);
    if (file_read_all(path, 64 << 20, &text, &bytes, NULL) != STATUS_OK) return 0;
    double epoch = json_number(last_line(text), NULL, "epoch");
    free(text);
    return epoch;
}

/* Workers that are started again meanwhile are stopped, too. */
static void hold_late_workers(struct chaos_run *run)
{
    if (!run->held && epoch_now(run) < HOLD_AT * run->options.epochs) return;
    if (!run->held) chaos_say(run, "workers are held");
    run->held = true;
    signal_workers(run, SIGSTOP);
}

void chaos_run_pass(struct chaos_run *run, double seconds)
{
    uint64_t end_ns = clock_now_ns() + (uint64_t)(seconds * 1e9);
    do {
        hold_late_workers(run);
        chaos_nap(TURN_SECONDS);
    } while (clock_now_ns() < end_ns);
}

void chaos_run_await(struct chaos_run *run, const char *what,
                     bool (*holds)(const struct chaos_run *run, const struct chaos_status *status,
                                   unsigned argument),
                     unsigned argument, struct chaos_status *status)
{
    struct chaos_status own;
    if (status == NULL) status = &own;
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)(DEADLINE_SECONDS * 1e9);
    for (;;) {
        char path[256];
        hold_late_workers(run);
        if (chaos_run_status(run, status) && holds(run, status, argument)) return;
        snprintf(path, sizeof path, "%s/result.json", run->run_dir);
        if (file_exists(path)) chaos_fail(run, "the run was over while waiting for %s", what);
        siginfo_t ended = {0};
        if (run->launch.pid > 0 &&
            waitid(P_PID, (id_t)run->launch.pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            ended.si_pid != 0) {
            (void)process_wait(&run->launch, 1);
            chaos_fail(run, "launch.sh ended while waiting for %s: %s", what, run->launch.err);
        }
        if (clock_now_ns() >= deadline_ns) chaos_fail(run, "waited in vain for %s", what);
        chaos_nap(TURN_SECONDS);
    }
}

static bool is_safe(const struct chaos_run *run, const struct chaos_status *status,
                    unsigned argument)
{
    (void)argument;
    return status->safe && status->servers_restarted >= run->server_kills;
}

void chaos_run_await_safe(struct chaos_run *run, struct chaos_status *status)
{
    chaos_run_await(run, "every shard to be served and copied", is_safe, 0, status);
}

/* ---- processes ----------------------------------------------------------------------------------
 */

pid_t chaos_run_pid(const struct chaos_run *run, const char *role)
{
    char path[256];
    char *text = NULL;
    size_t bytes = 0;
    snprintf(path, sizeof path, "%s/pids/%s", run->run_dir, role);
    if (file_read_all(path, 64, &text, &bytes, NULL) != STATUS_OK) return 0;
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    free(text);
    return pid;
}

bool chaos_run_signal(struct chaos_run *run, const char *role, int signal_number)
{
    pid_t pid = chaos_run_pid(run, role);
    return pid > 0 && kill(pid, signal_number) == 0;
}

static void start_launch(struct chaos_run *run)
{
    const char *argv[CHAOS_ARGUMENTS_MAX];
    unsigned count = 0;
    argv[count++] = "./launch.sh";
    argv[count++] = run->config;
    for (const char *const *setting = run->options.settings; setting != NULL && *setting != NULL;
         setting++) {
        CHECK(count + 3 < CHAOS_ARGUMENTS_MAX);
        argv[count++] = "--set";
        argv[count++] = *setting;
    }
    argv[count] = NULL;
    process_start(&run->launch, source_dir(), argv);
}

void chaos_run_start_job(struct chaos_run *run, const char *const *prefix)
{
    const char *argv[CHAOS_ARGUMENTS_MAX];
    char program[256], seed[64];
    unsigned count = 0;
    for (; prefix != NULL && *prefix != NULL; prefix++)
        argv[count++] = *prefix;
    snprintf(program, sizeof program, "%s/anthill-sum-job", bin_dir());
    snprintf(seed, sizeof seed, "--seed=%llu", (unsigned long long)run->options.seed);
    argv[count++] = program;
    argv[count++] = seed;
    argv[count++] = "--rate=2000";
    if (run->options.replicas < 2 && !run->options.exact) argv[count++] = "--may-lose";
    for (const char *const *setting = run->options.job_settings;
         setting != NULL && *setting != NULL; setting++) {
        CHECK(count + 2 < CHAOS_ARGUMENTS_MAX);
        argv[count++] = *setting;
    }
    argv[count++] = run->run_dir;
    argv[count] = NULL;
    process_start(&run->job, NULL, argv);
}

static bool is_training(const struct chaos_run *run, const struct chaos_status *status,
                        unsigned argument)
{
    (void)run;
    (void)argument;
    return status->safe && status->progress > 0;
}

void chaos_run_await_endpoint(struct chaos_run *run)
{
    char path[256];
    snprintf(path, sizeof path, "%s/coordinator.endpoint", run->run_dir);
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)(DEADLINE_SECONDS * 1e9);
    while (!file_exists(path)) {
        if (clock_now_ns() >= deadline_ns) chaos_fail(run, "no coordinator came to be");
        chaos_nap(TURN_SECONDS);
    }
}

void chaos_run_launch(struct chaos_run *run)
{
    start_launch(run);
    chaos_run_await_endpoint(run);
}

void chaos_run_await_training(struct chaos_run *run)
{
    chaos_run_await(run, "training to begin", is_training, 0, NULL);
    chaos_say(run, "training, %u servers, replicas %u", run->options.servers,
              run->options.replicas);
}

void chaos_run_start(struct chaos_run *run, const struct chaos_options *options)
{
    chaos_run_prepare(run, options);
    chaos_run_launch(run);
    chaos_run_await_training(run);
    chaos_run_start_job(run, NULL);
}

void chaos_run_finish_job(struct chaos_run *run)
{
    if (run->job.pid == 0 || kill(run->job.pid, SIGTERM) != 0)
        chaos_fail(run, "the job is not there any more: %s", strerror(errno));
    int code = process_wait(&run->job, DEADLINE_SECONDS);
    chaos_say(run, "the job: %s", last_line(run->job.out));
    if (code != 0) chaos_fail(run, "the job ended with exit code %d: %s", code, run->job.err);
    if (run->held) signal_workers(run, SIGCONT);
}

void chaos_run_finish(struct chaos_run *run)
{
    chaos_run_finish_job(run);
    int code = process_wait(&run->launch, 2 * DEADLINE_SECONDS);
    const char *result = last_line(run->launch.out);
    if (code != 0 || strstr(result, "\"status\":\"ok\"") == NULL)
        chaos_fail(run, "the run ended with exit code %d: %s\n%s", code, result, run->launch.err);
    chaos_say(run, "the run is ok: %g epochs", json_number(result, NULL, "epochs"));
}

void chaos_run_deinit(struct chaos_run *run)
{
    end_processes(run);
    if (run->options.folder == NULL) remove_folder(run->folder);
}
