/* A run at full load for a long time, whose processes keep their size: resident memory is sampled,
 * and a line laid through the samples after the warm-up. */
#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "chaos_command.h"
#include "chaos_run.h"
#include "common/check.h"
#include "common/clock.h"

#define SAMPLE_SECONDS 5.0
#define MIB            1048576.0
/* Over the whole time a process may grow by so much, which is what allocators round to. */
#define GROWTH_SHARE 0.05
#define GROWTH_BYTES (4 * MIB)

enum { ROLES = 5, SAMPLES_MAX = 20000, EPOCHS_ENDLESS = 100000000 };

static const char *const roles[ROLES] = {"server-0", "server-1", "worker-0", "worker-1",
                                         "coordinator"};

struct soak {
    double seconds, warm_up_seconds;
    unsigned count;
    double at[SAMPLES_MAX], bytes[ROLES][SAMPLES_MAX];
};

static double resident_bytes(struct chaos_run *run, const char *role)
{
    char path[64];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)chaos_run_pid(run, role));
    FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1)
        chaos_fail(run, "%s is not there any more", role);
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* Least squares: bytes a second. */
static double slope(const double *at, const double *bytes, unsigned count)
{
    double mean_at = 0, mean_bytes = 0, both = 0, square = 0;
    for (unsigned i = 0; i < count; i++) {
        mean_at += at[i] / count;
        mean_bytes += bytes[i] / count;
    }
    for (unsigned i = 0; i < count; i++) {
        both += (at[i] - mean_at) * (bytes[i] - mean_bytes);
        square += (at[i] - mean_at) * (at[i] - mean_at);
    }
    return square > 0 ? both / square : 0;
}

static void sample(struct chaos_run *run, struct soak *soak)
{
    uint64_t start_ns = clock_now_ns();
    for (double now = 0; now < soak->seconds && soak->count < SAMPLES_MAX;) {
        chaos_nap(SAMPLE_SECONDS);
        now = (double)(clock_now_ns() - start_ns) * 1e-9;
        if (now < soak->warm_up_seconds) continue;
        soak->at[soak->count] = now;
        for (unsigned i = 0; i < ROLES; i++)
            soak->bytes[i][soak->count] = resident_bytes(run, roles[i]);
        soak->count++;
    }
}

static bool print(const struct soak *soak)
{
    bool flat = soak->count >= 2;
    double span = soak->count > 0 ? soak->at[soak->count - 1] - soak->at[0] : 0;
    printf("{\"seconds\":%.0f,\"samples\":%u", span, soak->count);
    for (unsigned i = 0; i < ROLES && soak->count > 0; i++) {
        const double *bytes = soak->bytes[i];
        double rises = slope(soak->at, bytes, soak->count);
        bool grows = rises * span > GROWTH_SHARE * bytes[0] + GROWTH_BYTES;
        printf(",\"%s\":{\"first_mib\":%.1f,\"last_mib\":%.1f,\"slope_mib_per_hour\":%.2f,"
               "\"flat\":%s}",
               roles[i], bytes[0] / MIB, bytes[soak->count - 1] / MIB, rises * 3600 / MIB,
               grows ? "false" : "true");
        flat &= !grows;
    }
    printf("}\n");
    return flat;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct soak *soak = state->input;
    switch (key) {
    case 's':
        soak->seconds = strtod(argument, NULL);
        return 0;
    case 'w':
        soak->warm_up_seconds = strtod(argument, NULL);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option argp_options[] = {
    {"seconds", 's', "N", 0, "in all (default 600)", 0},
    {"warm-up", 'w', "N", 0, "not counted, at the beginning (default 90)", 0},
    {0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc = "Trains with backups at full load, and watches the resident memory of all processes.",
};

int chaos_soak(int argc, char **argv)
{
    static struct soak soak = {.seconds = 600, .warm_up_seconds = 90};
    argp_parse(&argp, argc, argv, 0, NULL, &soak);
    static struct chaos_run run;
    struct chaos_options options = {
        .seed = 1, .servers = 2, .workers = 2, .replicas = 2, .epochs = EPOCHS_ENDLESS};
    chaos_run_start(&run, &options);
    sample(&run, &soak);
    chaos_run_finish_job(&run);
    kill(run.launch.pid, SIGTERM);
    (void)process_wait(&run.launch, 60);
    chaos_run_deinit(&run);
    return print(&soak) ? 0 : 1;
}
