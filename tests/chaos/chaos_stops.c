/* Processes of a run stand still for longer than others wait for them, and go on: a worker whose
 * leases were given away, a server whose backup took over, and a coordinator. What they still have
 * to say then comes too late, and must count for nothing. */
#include <argp.h>
#include <signal.h>
#include <stdlib.h>

#include "chaos_command.h"
#include "chaos_run.h"

/* Longer than workers.lease_seconds and network.dead_seconds, which are 2. */
#define STOP_SECONDS 5.0

static bool worker_is_lost(const struct chaos_run *run, const struct chaos_status *status,
                           unsigned lost)
{
    (void)run;
    return status->workers_lost > lost;
}

static bool has_failed_over(const struct chaos_run *run, const struct chaos_status *status,
                            unsigned failovers)
{
    (void)run;
    return status->failovers > failovers;
}

static void signal_role(struct chaos_run *run, const char *role, int signal_number)
{
    chaos_say(run, "%s %s", signal_number == SIGSTOP ? "stopped" : "continued", role);
    if (!chaos_run_signal(run, role, signal_number)) chaos_fail(run, "%s is not there", role);
}

static void stop_worker(struct chaos_run *run)
{
    struct chaos_status status;
    chaos_run_await_safe(run, &status);
    signal_role(run, "worker-0", SIGSTOP);
    chaos_run_await(run, "worker-0 to be given up", worker_is_lost, status.workers_lost, NULL);
    chaos_run_pass(run, STOP_SECONDS);
    signal_role(run, "worker-0", SIGCONT);
}

/* With a backup: until that has taken over. */
static void stop_server(struct chaos_run *run)
{
    struct chaos_status status;
    chaos_run_await_safe(run, &status);
    signal_role(run, "server-0", SIGSTOP);
    if (run->options.replicas > 1)
        chaos_run_await(run, "a failover", has_failed_over, status.failovers, NULL);
    chaos_run_pass(run, STOP_SECONDS);
    signal_role(run, "server-0", SIGCONT);
    chaos_run_await_safe(run, NULL);
}

static void stop_coordinator(struct chaos_run *run)
{
    chaos_run_await_safe(run, NULL);
    signal_role(run, "coordinator", SIGSTOP);
    chaos_run_pass(run, STOP_SECONDS);
    signal_role(run, "coordinator", SIGCONT);
    chaos_run_await_safe(run, NULL);
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    unsigned *replicas = state->input;
    if (key != 'r') return ARGP_ERR_UNKNOWN;
    *replicas = (unsigned)strtoul(argument, NULL, 10);
    if (*replicas < 1 || *replicas > 2) argp_error(state, "%s: expected 1 or 2", argument);
    return 0;
}

static const struct argp_option argp_options[] = {
    {"replicas", 'r', "N", 0, "servers.replicas, 1 or 2 (default 2)", 0},
    {0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc = "Stops a worker, a server and the coordinator for longer than they are waited for, one "
           "after the other.",
};

int chaos_stops(int argc, char **argv)
{
    unsigned replicas = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &replicas);
    static struct chaos_run run;
    struct chaos_options options = {.seed = 1,
                                    .servers = 2,
                                    .workers = 2,
                                    .replicas = replicas,
                                    /* nothing may be missing, without a backup either */
                                    .exact = true};
    chaos_run_start(&run, &options);
    stop_worker(&run);
    stop_server(&run);
    stop_coordinator(&run);
    chaos_run_finish(&run);
    chaos_run_deinit(&run);
    return 0;
}
