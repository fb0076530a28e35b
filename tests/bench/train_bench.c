/* Training by the shipped programs as launch.sh starts them: a coordinator, a server, and a worker
 * for each core, all pinned to the case's cores. The value is the median over the epochs after the
 * first of seeds by the time between two epochs' ends, as the coordinator wrote them down. There is
 * no bare loop to compare with. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "common/check.h"
#include "common/program.h"
#include "tests/bench/bench_processes.h"

#define EPOCHS_MAX  1001u
#define RUN_SECONDS 1800.0
#define END_SECONDS 30.0

/* Seeds per second from the lines of metrics.jsonl that tell of epochs. */
static enum status rate(const struct bench_processes *run, double *value, struct error *error)
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

/* True when the coordinator has ended, or need not be waited for. */
static bool is_over(void *context)
{
    const struct bench_processes *run = context;
    siginfo_t info = {.si_pid = 0};
    waitid(P_PID, (id_t)run->items[0].pid, &info, WEXITED | WNOHANG | WNOWAIT);
    return info.si_pid != 0 || program_stop_requested();
}

static enum status run_to_end(struct bench_processes *run, unsigned workers, double *value,
                              struct error *error)
{
    char listen[128];
    snprintf(listen, sizeof listen, "ipc://%s/coordinator", run->folder);
    enum status status = bench_processes_coordinator(run, listen, error);
    if (status != STATUS_OK) return status;
    bench_processes_add(run, "anthill-ps", "serve", "--server", "0");
    for (unsigned i = 0; i < workers; i++)
        bench_processes_add(run, "anthill-worker", "train", "--name", i == 0 ? "first" : "second");
    (void)await(is_over, run, RUN_SECONDS);
    const int exit_code = process_wait(&run->items[0], 0);
    if (program_stop_requested()) return error_set(error, STATUS_STOPPED, "stopped by a signal");
    if (exit_code != 0)
        return error_set(error, STATUS_UNAVAILABLE, "training ended with exit code %d: %s",
                         exit_code, last_line(run->items[0].err));
    for (unsigned i = 1; i < run->count; i++)
        process_wait(&run->items[i], END_SECONDS);
    return rate(run, value, error);
}

/* The first `cores` of the processors that this process may use; false: there are fewer. */
static bool choose_cores(unsigned cores, const cpu_set_t *all, cpu_set_t *some)
{
    CPU_ZERO(some);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(some) < (int)cores; cpu++)
        if (CPU_ISSET(cpu, all)) CPU_SET(cpu, some);
    return CPU_COUNT(some) == (int)cores;
}

static enum status measure(struct bench *bench, const char *name, unsigned cores,
                           struct error *error)
{
    struct bench_processes run;
    char graph[FILE_PATH_BYTES];
    cpu_set_t all, some;
    double value = 0;
    CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
    if (!choose_cores(cores, &all, &some)) {
        fprintf(stderr, "%s: left out, there are fewer cores\n", name);
        return STATUS_OK;
    }
    enum status status = bench_graph(bench, BENCH_GRAPH_16M, graph, error);
    if (status != STATUS_OK) return status;
    bench_processes_init(&run, bench);
    bench_processes_set(&run, "graph.path=%s", graph);
    bench_processes_set(&run, "train.epochs=%u", 1 + bench_rounds(bench, 3));
    bench_processes_set(&run, "servers.count=1");
    bench_processes_set(&run, "workers.count=%u", cores);
    /* Inherited by all that is started. */
    CHECK(sched_setaffinity(0, sizeof some, &some) == 0);
    status = run_to_end(&run, cores, &value, error);
    CHECK(sched_setaffinity(0, sizeof all, &all) == 0);
    bench_processes_deinit(&run);
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
