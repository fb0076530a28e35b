/* A run by launch.sh on a small graph of random nodes, with the sum job beside it: what faults are
 * done to. Whatever is not as it should be ends the program with exit code 1 and says what, the
 * seed, and where the logs are. */
#ifndef ANTHILL_TESTS_CHAOS_CHAOS_RUN_H
#define ANTHILL_TESTS_CHAOS_CHAOS_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/support/process.h"

enum {
    CHAOS_SHARDS_MAX = 8,
    CHAOS_FAILOVERS_MAX = 64,
    CHAOS_ARGUMENTS_MAX = 64,
    CHAOS_MEMBERS_MAX = 8
};

struct chaos_options {
    uint64_t seed;
    unsigned servers, workers, replicas;
    unsigned epochs;                 /* 0: enough for about 15 s */
    bool exact;                      /* nothing may be lost, even without backups */
    const char *const *settings;     /* "key=value", NULL-terminated; NULL: none */
    const char *folder;              /* an existing one for everything; NULL: a new one */
    const char *const *job_settings; /* arguments of the job, NULL-terminated; NULL: none */
};

/* What `anthill-ps status` says. */
struct chaos_status {
    uint64_t map_version, checkpoint;
    double progress;
    unsigned servers_restarted, workers_lost, checkpoints_failed, failovers;
    bool serving; /* every shard has a primary that is ready */
    bool safe;    /* ... every thread is ready, and where there are backups they are complete */
};

struct chaos_failover {
    double silence_seconds;  /* from the last word of the primary to the new map */
    double decision_seconds; /* from the detection to the new map */
};

struct chaos_run {
    struct chaos_options options;
    char folder[128], run_dir[192], config[192];
    char settings[4][256];
    struct process launch, job;
    struct process members[CHAOS_MEMBERS_MAX]; /* of a run without launch.sh */
    unsigned member_count;
    const char *const *status_prefix; /* a command to run `anthill-ps status` by; NULL: none */
    uint64_t started_ns;
    unsigned server_kills;
    bool held; /* workers are stopped, so that the run does not end before the job does */
    struct chaos_failover failovers[CHAOS_FAILOVERS_MAX];
    unsigned failover_count, shard_failovers[CHAOS_SHARDS_MAX];
};

/* Says what happens, with the seed and the time since the start. */
void chaos_say(const struct chaos_run *run, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Ends everything and the program. */
_Noreturn void chaos_fail(struct chaos_run *run, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Writes graph and configuration, starts launch.sh and the job, and waits until workers train. */
void chaos_run_start(struct chaos_run *run, const struct chaos_options *options);
/* The parts of that, for runs that are started in another way. */
void chaos_run_prepare(struct chaos_run *run, const struct chaos_options *options);
void chaos_run_launch(struct chaos_run *run);
void chaos_run_await_endpoint(struct chaos_run *run);
void chaos_run_await_training(struct chaos_run *run);
/* Starts the job; `prefix` (NULL-terminated; may be NULL) is a command to run it by. */
void chaos_run_start_job(struct chaos_run *run, const char *const *prefix);

/* False when the coordinator does not answer. */
bool chaos_run_status(struct chaos_run *run, struct chaos_status *status);

/* Waits until `holds` of the status; deadline: two minutes. `what` completes "waited for". */
void chaos_run_await(struct chaos_run *run, const char *what,
                     bool (*holds)(const struct chaos_run *run, const struct chaos_status *status,
                                   unsigned argument),
                     unsigned argument, struct chaos_status *status);

/* Until every server that was killed is back, and every shard safe. */
void chaos_run_await_safe(struct chaos_run *run, struct chaos_status *status);

/* The process of a role ("server-1", "coordinator"); 0: unknown. */
pid_t chaos_run_pid(const struct chaos_run *run, const char *role);
/* False when there was no such process. */
bool chaos_run_signal(struct chaos_run *run, const char *role, int signal_number);

/* Ends the job, whose sums must be exact, then awaits the run's end, which must be "ok".
 * Job's JSON: run->job.out. */
void chaos_run_finish(struct chaos_run *run);
/* Only the job. */
void chaos_run_finish_job(struct chaos_run *run);
void chaos_run_deinit(struct chaos_run *run);

/* Lets time pass. Workers that get near the run's end are stopped meanwhile. */
void chaos_run_pass(struct chaos_run *run, double seconds);
void chaos_nap(double seconds);

#endif
