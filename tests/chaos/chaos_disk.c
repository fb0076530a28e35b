/* The disk under a run's checkpoints fills up: a checkpoint that does not fit is abandoned whole,
 * training goes on, and with room again there are checkpoints again. They lie on a
 * small tmpfs of their own: nothing else feels it. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "chaos_command.h"
#include "chaos_run.h"

enum { SKIPPED = 77 };

static char mounted[256];

static void unmount(void)
{
    (void)umount2(mounted, MNT_DETACH);
}

/* Writes until nothing fits any more. */
static void fill(struct chaos_run *run, const char *path)
{
    static char block[4096];
    memset(block, 1, sizeof block);
    int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (file < 0) chaos_fail(run, "%s: %s", path, strerror(errno));
    while (write(file, block, sizeof block) > 0) {
    }
    close(file);
    chaos_say(run, "the disk is full");
}

static bool has_failed(const struct chaos_run *run, const struct chaos_status *status,
                       unsigned failed)
{
    (void)run;
    return status->checkpoints_failed > failed;
}

static bool has_newer(const struct chaos_run *run, const struct chaos_status *status, unsigned step)
{
    (void)run;
    return status->checkpoint > step;
}

static bool has_advanced(const struct chaos_run *run, const struct chaos_status *status,
                         unsigned millionths)
{
    (void)run;
    return status->progress * 1e6 > millionths;
}

/* Nothing is left of checkpoints that were given up; one that is being tried may be there. */
static bool nothing_is_left(void *context)
{
    const struct chaos_run *run = context;
    char line[512];
    struct process process = {0};
    snprintf(line, sizeof line, "find %s/checkpoints -name '*.npy' -path '*.partial*' | grep -q .",
             run->run_dir);
    const char *argv[] = {"sh", "-c", line, NULL};
    bool found = process_run(&process, NULL, 30, argv) == 0;
    process_deinit(&process);
    return !found;
}

/* What servers count, from their /metrics; -1: not there. */
static double metric(const struct chaos_run *run, const char *name)
{
    char line[1024];
    struct process process = {0};
    snprintf(line, sizeof line,
             "for log in %s/logs/server-*.log; do "
             "port=$(sed -n 's/.*stats_listening.* port=//p' $log | tail -n 1); "
             "curl -s http://127.0.0.1:$port/metrics; done | "
             "awk '/^%s[ {]/ { sum += $NF } END { print sum }'",
             run->run_dir, name);
    const char *argv[] = {"sh", "-c", line, NULL};
    double value = process_run(&process, NULL, 60, argv) == 0 ? strtod(process.out, NULL) : -1;
    process_deinit(&process);
    return value;
}

static void fill_and_clear(struct chaos_run *run)
{
    struct chaos_status status;
    char filler[320];
    chaos_run_await(run, "a first checkpoint", has_newer, 0, &status);
    snprintf(filler, sizeof filler, "%s/checkpoints/filler", run->run_dir);
    fill(run, filler);
    unsigned before = (unsigned)(status.progress * 1e6);
    chaos_run_await(run, "a checkpoint to fail", has_failed, status.checkpoints_failed, &status);
    chaos_run_await(run, "another one to fail", has_failed, status.checkpoints_failed, &status);
    chaos_run_await(run, "training to go on", has_advanced, before, &status);
    if (!await(nothing_is_left, run, 60)) chaos_fail(run, "an unfinished checkpoint is left");
    double failures = metric(run, "anthill_ps_checkpoint_failures_total");
    chaos_say(run, "failed: %u checkpoints, by the metric %g parts", status.checkpoints_failed,
              failures);
    if (failures < 1) chaos_fail(run, "anthill_ps_checkpoint_failures_total does not rise");
    if (unlink(filler) != 0) chaos_fail(run, "%s: %s", filler, strerror(errno));
    chaos_say(run, "there is room again");
    chaos_run_await(run, "a checkpoint after there was room", has_newer,
                    (unsigned)status.checkpoint, &status);
    chaos_say(run, "step %llu is complete", (unsigned long long)status.checkpoint);
}

static const struct argp argp = {
    .doc =
        "Fills the disk under a run's checkpoints, and makes room again (as root: mounts a small "
        "tmpfs).",
};

int chaos_disk(int argc, char **argv)
{
    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    static struct chaos_run run;
    struct chaos_options options = {.seed = 1, .servers = 2, .workers = 2, .replicas = 2};
    chaos_run_prepare(&run, &options);
    chaos_run_launch(&run);
    snprintf(mounted, sizeof mounted, "%s/checkpoints", run.run_dir);
    if (mount("none", mounted, "tmpfs", 0, "size=6m") != 0) {
        fprintf(stderr, "skipped: no tmpfs can be mounted here: %s\n", strerror(errno));
        chaos_run_deinit(&run);
        return SKIPPED;
    }
    atexit(unmount);
    chaos_run_await_training(&run);
    chaos_run_start_job(&run, NULL);
    fill_and_clear(&run);
    chaos_run_finish(&run);
    unmount();
    chaos_run_deinit(&run);
    return 0;
}
