#include "tests/bench/bench.h"

#include <argp.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/blas.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/kernel_clones.h"
#include "common/log.h"
#include "common/program.h"
#include "common/text.h"
#include "tests/support/process.h"

#define GENERATE_SECONDS 1800.0

enum { KEY_JSON = 1, KEY_QUICK, KEY_LARGE, KEY_MATRIX };

static const struct argp_option options[] = {
    {"json", KEY_JSON, NULL, 0, "one JSON object a line instead of a table", 0},
    {"repeat", 'r', "N", 0, "timed rounds; the median counts", 0},
    {"case", 'c', "TEXT", 0, "only the cases whose name contains TEXT", 0},
    {"data", 'd', "DIR", 0, "folder of generated graphs (default: bench-data of the build)", 0},
    {"large", KEY_LARGE, NULL, 0, "also the cases of 160 M edges", 0},
    {"matrix", KEY_MATRIX, NULL, 0, "ps: what depends on servers, threads, sizes and keys", 0},
    {"quick", KEY_QUICK, NULL, 0, "tiny sizes: shows that it runs, measures nothing", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct bench *bench = state->input;
    switch (key) {
    case KEY_JSON:
        bench->json = true;
        return 0;
    case KEY_QUICK:
        bench->quick = true;
        return 0;
    case KEY_LARGE:
        bench->large = true;
        return 0;
    case KEY_MATRIX:
        bench->matrix = true;
        return 0;
    case 'r':
        bench->repeat = (unsigned)strtoul(value, NULL, 10);
        if (bench->repeat < 1 || bench->repeat > 1000)
            argp_error(state, "--repeat: \"%s\" is no whole number from 1 to 1000", value);
        return 0;
    case 'c':
        bench->only = value;
        return 0;
    case 'd':
        if (file_path(bench->data, NULL, "%s", value) != STATUS_OK)
            argp_error(state, "--data: the path is too long");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* bin/ is where this program is, and bench-data/ beside it. */
static enum status find_folders(struct bench *bench, struct error *error)
{
    char self[FILE_PATH_BYTES];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    CHECK(length > 0);
    self[length] = '\0';
    const char *folder = dirname(self);
    enum status status = file_path(bench->bin, error, "%s", folder);
    if (status == STATUS_OK && bench->data[0] == '\0')
        status = file_path(bench->data, error, "%s/../bench-data", folder);
    return status;
}

int bench_run(int argc, char **argv, const char *name, const char *doc, bench_cases *const *cases)
{
    struct bench bench = {.name = name};
    struct error error = {.text = ""};
    const struct argp argp = {.options = options, .parser = parse, .doc = doc};
    argp_parse(&argp, argc, argv, 0, NULL, &bench);
    log_set_level(LOG_WARN);
    enum status status = find_folders(&bench, &error);
    fprintf(stderr, "OpenBLAS %s, kernels %s, %s, %ld processors\n", blas_family(),
            kernel_clones_name(), program_allocator(), sysconf(_SC_NPROCESSORS_ONLN));
    for (; *cases != NULL && status == STATUS_OK; cases++)
        status = (*cases)(&bench, &error);
    return status == STATUS_OK ? 0 : program_fail(status, &error);
}

bool bench_wants(const struct bench *bench, const char *name)
{
    return bench->only == NULL || strstr(name, bench->only) != NULL;
}

unsigned bench_rounds(const struct bench *bench, unsigned chosen)
{
    if (bench->repeat > 0) return bench->repeat;
    return bench->quick ? 1 : chosen;
}

static void report_json(const struct bench *bench, const char *name, double value, const char *unit,
                        double limit, const struct bench_field *fields, unsigned field_count)
{
    struct text line = {.data = NULL};
    text_add(&line, "{\"bench\":\"%s\",\"case\":\"%s\",\"value\":", bench->name, name);
    text_add_json_number(&line, value);
    text_add(&line, ",\"unit\":\"%s\",\"limit\":", unit);
    text_add_json_number(&line, limit);
    text_add(&line, ",\"share\":");
    text_add_json_number(&line, value / limit);
    for (unsigned i = 0; i < field_count; i++) {
        if (isnan(fields[i].value)) continue;
        text_add(&line, ",\"%s\":", fields[i].name);
        text_add_json_number(&line, fields[i].value);
    }
    text_add(&line, "}");
    puts(line.data);
    text_deinit(&line);
}

static void report_row(struct bench *bench, const char *name, double value, const char *unit,
                       double limit, const struct bench_field *fields, unsigned field_count)
{
    if (!bench->titled)
        printf("%-7s %-20s %12s %12s %7s  %s\n", "bench", "case", "value", "limit", "share",
               "unit");
    bench->titled = true;
    printf("%-7s %-20s %12.4g ", bench->name, name, value);
    if (isnan(limit))
        printf("%12s %7s  %s", "-", "-", unit);
    else
        printf("%12.4g %7.3f  %s", limit, value / limit, unit);
    for (unsigned i = 0; i < field_count; i++)
        if (!isnan(fields[i].value)) printf("  %s %.3g", fields[i].name, fields[i].value);
    putchar('\n');
}

void bench_report_fields(struct bench *bench, const char *name, double value, const char *unit,
                         double limit, const struct bench_field *fields, unsigned field_count)
{
    if (bench->json)
        report_json(bench, name, value, unit, limit, fields, field_count);
    else
        report_row(bench, name, value, unit, limit, fields, field_count);
    fflush(stdout);
}

void bench_report(struct bench *bench, const char *name, double value, const char *unit,
                  double limit)
{
    bench_report_fields(bench, name, value, unit, limit, NULL, 0);
}

static int compare_doubles(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

double bench_median(double *values, unsigned count)
{
    CHECK(count > 0);
    qsort(values, count, sizeof *values, compare_doubles);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

enum status bench_alternate(struct bench_step *steps, unsigned count, unsigned rounds,
                            struct error *error)
{
    double *seconds = calloc((size_t)count * rounds, sizeof *seconds);
    CHECK(seconds != NULL);
    enum status status = STATUS_OK;
    for (unsigned round = 0; round <= rounds; round++) {
        for (unsigned i = 0; i < count && status == STATUS_OK; i++) {
            const uint64_t start_ns = clock_now_ns();
            status = steps[i].run(steps[i].context, error);
            if (round > 0)
                seconds[i * rounds + round - 1] = (double)(clock_now_ns() - start_ns) * 1e-9;
            if (status == STATUS_OK && program_stop_requested())
                status = error_set(error, STATUS_STOPPED, "stopped by a signal");
        }
    }
    for (unsigned i = 0; i < count; i++)
        steps[i].seconds = bench_median(seconds + (size_t)i * rounds, rounds);
    free(seconds);
    return status;
}

struct call {
    void (*run)(void *context);
    void *context;
};

static void *call_main(void *context)
{
    const struct call *call = context;
    call->run(call->context);
    return NULL;
}

void bench_parallel(void (*run)(void *context), void *const *contexts, unsigned count)
{
    pthread_t threads[BENCH_THREADS_MAX];
    struct call calls[BENCH_THREADS_MAX];
    CHECK(count > 0 && count <= BENCH_THREADS_MAX);
    for (unsigned i = 1; i < count; i++) {
        calls[i] = (struct call){run, contexts[i]};
        CHECK(pthread_create(&threads[i], NULL, call_main, &calls[i]) == 0);
    }
    run(contexts[0]);
    for (unsigned i = 1; i < count; i++)
        pthread_join(threads[i], NULL);
}

enum status bench_graph(const struct bench *bench, enum bench_graph which,
                        char path[FILE_PATH_BYTES], struct error *error)
{
    static const char *const sizes[][3] = {{"1m-16m", "1000000", "16000000"},
                                           {"10m-160m", "10000000", "160000000"},
                                           {"20k-320k", "20000", "320000"}};
    const char *const *size = bench->quick ? sizes[2] : sizes[which];
    char program[FILE_PATH_BYTES];
    enum status status = file_path(path, error, "%s/rmat-%s", bench->data, size[0]);
    if (status == STATUS_OK) status = file_path(program, error, "%s/anthill-graph", bench->bin);
    if (status != STATUS_OK || file_exists(path)) return status;
    status = file_dir_create(bench->data, error);
    if (status != STATUS_OK) return status;
    fprintf(stderr, "generating %s\n", path);
    const bool plain = !bench->quick && which == BENCH_GRAPH_160M;
    const char *const argv[] = {program,
                                "generate",
                                "rmat",
                                "--nodes",
                                size[1],
                                "--edges",
                                size[2],
                                "--out",
                                path,
                                "--features",
                                plain ? "0" : "100",
                                "--classes",
                                plain ? "0" : "47",
                                NULL};
    struct process process;
    if (process_run(&process, NULL, GENERATE_SECONDS, argv) != 0)
        status = error_set(error, STATUS_IO, "%s: %s", program, last_line(process.err));
    process_deinit(&process);
    return status;
}
