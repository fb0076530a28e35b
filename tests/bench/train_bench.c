/* Training by the shipped programs as launch.sh starts them: a coordinator, a server, and a worker
 * for each core, all pinned to the case's cores. The value is the median over the epochs after the
 * first of seeds by the time between two epochs' ends, as the coordinator wrote them down. There is
 * no bare loop to compare with. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/program.h"
#include "tests/bench/bench.h"
#include "tests/support/process.h"

#define PROCESSES_MAX  4u
#define ARGUMENTS_MAX  32u
#define EPOCHS_MAX     1001u
#define START_SECONDS  60.0
#define RUN_SECONDS    1800.0
#define END_SECONDS    30.0
#define ENDPOINT_BYTES 256

struct run {
    struct bench *bench;
    unsigned cores, epochs;
    char folder[64];
    char graph[FILE_PATH_BYTES];
    char endpoint[ENDPOINT_BYTES];
    struct process processes[PROCESSES_MAX]; /* the first is the coordinator */
    unsigned process_count;
};

/* Starts `program COMMAND sage.yaml` with the run's settings and `more` (NULL-terminated). */
static void start(struct run *run, const char *program, const char *command,
                  const char *const *more)
{
    static const char *const fixed[] = {"network.transport=ipc", "servers.count=1"};
    char path[FILE_PATH_BYTES], settings[4][FILE_PATH_BYTES + 32];
    const char *argv[ARGUMENTS_MAX];
    unsigned count = 0;
    CHECK(file_path(path, NULL, "%s/%s", run->bench->bin, program) == STATUS_OK);
    snprintf(settings[0], sizeof settings[0], "graph.path=%s", run->graph);
    snprintf(settings[1], sizeof settings[1], "run.dir=%s/run", run->folder);
    snprintf(settings[2], sizeof settings[2], "train.epochs=%u", run->epochs);
    snprintf(settings[3], sizeof settings[3], "workers.count=%u", run->cores);
    argv[count++] = path;
    argv[count++] = command;
    argv[count++] = BENCH_SOURCE_DIR "/sage.yaml";
    for (unsigned i = 0; i < 2; i++) {
        argv[count++] = "--set";
        argv[count++] = fixed[i];
    }
    for (unsigned i = 0; i < 4; i++) {
        argv[count++] = "--set";
        argv[count++] = settings[i];
    }
    while (*more != NULL)
        argv[count++] = *more++;
    argv[count] = NULL;
    process_start(&run->processes[run->process_count++], NULL, argv);
}

/* True when nothing is left to wait for: the endpoint is there, or the coordinator is not. */
static bool endpoint_is_known(void *context)
{
    struct run *run = context;
    char path[FILE_PATH_BYTES], *text = NULL;
    size_t bytes;
    CHECK(file_path(path, NULL, "%s/run/coordinator.endpoint", run->folder) == STATUS_OK);
    if (file_read_all(path, ENDPOINT_BYTES - 1, &text, &bytes, NULL) != STATUS_OK)
        return program_stop_requested();
    snprintf(run->endpoint, sizeof run->endpoint, "%.*s", (int)strcspn(text, "\n"), text);
    free(text);
    return run->endpoint[0] != '\0';
}

static enum status start_all(struct run *run, struct error *error)
{
    char listen[128];
    snprintf(listen, sizeof listen, "ipc://%s/coordinator", run->folder);
    start(run, "anthill-ps", "coordinator", (const char *const[]){"--endpoint", listen, NULL});
    if (!await(endpoint_is_known, run, START_SECONDS) || run->endpoint[0] == '\0') {
        process_wait(&run->processes[0], 0);
        return error_set(error, STATUS_UNAVAILABLE, "the coordinator does not start: %s",
                         last_line(run->processes[0].err));
    }
    start(run, "anthill-ps", "serve",
          (const char *const[]){"--server", "0", "--coordinator", run->endpoint, NULL});
    for (unsigned i = 0; i < run->cores; i++) {
        char name[32];
        snprintf(name, sizeof name, "worker-%u", i);
        start(run, "anthill-worker", "train",
              (const char *const[]){"--name", name, "--coordinator", run->endpoint, NULL});
    }
    return STATUS_OK;
}

/* Seeds per second from the lines of metrics.jsonl that tell of epochs. */
static enum status rate(const struct run *run, double *value, struct error *error)
{
    char path[FILE_PATH_BYTES], *text = NULL, *rest = NULL;
    size_t bytes;
    double rates[EPOCHS_MAX], before = 0;
    unsigned count = 0;
    enum status status = file_path(path, error, "%s/run/metrics.jsonl", run->folder);
    if (status == STATUS_OK) status = file_read_all(path, 1u << 24, &text, &bytes, error);
    if (status != STATUS_OK) return status;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strstr(line, "\"seeds\":") == NULL) continue;
        const double now = json_number(line, NULL, "time");
        if (before > 0 && count < EPOCHS_MAX)
            rates[count++] = json_number(line, NULL, "seeds") / (now - before);
        before = now;
    }
    free(text);
    if (count == 0) return error_set(error, STATUS_CORRUPT, "%s: fewer than two epochs", path);
    *value = bench_median(rates, count);
    return STATUS_OK;
}

static enum status run_to_end(struct run *run, double *value, struct error *error)
{
    enum status status = start_all(run, error);
    if (status != STATUS_OK) return status;
    if (process_wait(&run->processes[0], RUN_SECONDS) != 0)
        return error_set(error, program_stop_requested() ? STATUS_STOPPED : STATUS_UNAVAILABLE,
                         "training ended with exit code %d: %s", run->processes[0].exit_code,
                         last_line(run->processes[0].err));
    for (unsigned i = 1; i < run->process_count; i++)
        process_wait(&run->processes[i], END_SECONDS);
    return rate(run, value, error);
}

static enum status measure(struct bench *bench, const char *name, unsigned cores,
                           struct error *error)
{
    cpu_set_t all, some;
    double value = 0;
    struct run run = {.bench = bench, .cores = cores, .epochs = 1 + bench_rounds(bench, 3)};
    CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
    CPU_ZERO(&some);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&some) < (int)cores; cpu++)
        if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &some);
    if (CPU_COUNT(&some) < (int)cores) {
        fprintf(stderr, "%s: left out, there are fewer cores\n", name);
        return STATUS_OK;
    }
    enum status status = bench_graph(bench, BENCH_GRAPH_16M, run.graph, error);
    if (status != STATUS_OK) return status;
    temporary_folder(run.folder);
    /* Inherited by all that is started. */
    CHECK(sched_setaffinity(0, sizeof some, &some) == 0);
    status = run_to_end(&run, &value, error);
    CHECK(sched_setaffinity(0, sizeof all, &all) == 0);
    for (unsigned i = 0; i < run.process_count; i++)
        process_deinit(&run.processes[i]);
    remove_folder(run.folder);
    if (status == STATUS_OK) bench_report(bench, name, value, "seeds/s", BENCH_NO_LIMIT);
    return status;
}

enum status train_cases(struct bench *bench, struct error *error)
{
    static const char *const names[] = {"sage-c1", "sage-c2"};
    enum status status = STATUS_OK;
    for (unsigned cores = 1; cores <= 2 && status == STATUS_OK; cores++)
        if (bench_wants(bench, names[cores - 1]))
            status = measure(bench, names[cores - 1], cores, error);
    return status;
}
