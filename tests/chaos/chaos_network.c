/* Servers and coordinator in one network namespace, workers and the job in another; the packets
 * between them are lost at random, or in one direction altogether for some seconds. All over tcp.
 *
 *     anthill-PID-s  coordinator, servers   10.198.0.1 ==veth== 10.198.0.2   workers, job
 * anthill-PID-w
 */
#include <argp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chaos_command.h"
#include "chaos_run.h"
#include "common/check.h"
#include "common/file.h"

#define SERVER_HOST "10.198.0.1"
#define WORKER_HOST "10.198.0.2"

enum { SKIPPED = 77, SERVERS = 2, WORKERS = 2 };

struct network {
    char servers[32], workers[32]; /* namespaces */
    const char *server_prefix[5], *worker_prefix[5];
};

static struct network network;

/* ---- namespaces ---------------------------------------------------------------------------------
 */

/* The commands of a line, separated by ';', in a shell. */
static bool shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool shell(const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    struct process process = {0};
    const char *argv[] = {"sh", "-ec", line, NULL};
    bool done = process_run(&process, NULL, 30, argv) == 0;
    if (!done) fprintf(stderr, "%s: %s", line, process.err);
    process_deinit(&process);
    return done;
}

static void remove_network(void)
{
    (void)shell("ip netns del %s; ip netns del %s", network.servers, network.workers);
}

static bool make_network(void)
{
    snprintf(network.servers, sizeof network.servers, "anthill-%d-s", (int)getpid());
    snprintf(network.workers, sizeof network.workers, "anthill-%d-w", (int)getpid());
    const char *prefix[] = {"ip", "netns", "exec", network.servers, NULL};
    memcpy(network.server_prefix, prefix, sizeof prefix);
    memcpy(network.worker_prefix, prefix, sizeof prefix);
    network.worker_prefix[3] = network.workers;
    const char *s = network.servers, *w = network.workers;
    if (!shell("ip netns add %s", s)) return false;
    if (!shell("ip netns add %s", w)) {
        (void)shell("ip netns del %s", s);
        return false;
    }
    atexit(remove_network);
    return shell("ip -n %s link add link0 type veth peer name link0 netns %s", s, w) &&
           shell("ip -n %s addr add " SERVER_HOST "/24 dev link0; ip -n %s link set link0 up;"
                 "ip -n %s link set lo up",
                 s, s, s) &&
           shell("ip -n %s addr add " WORKER_HOST "/24 dev link0; ip -n %s link set link0 up;"
                 "ip -n %s link set lo up",
                 w, w, w) &&
           shell("for n in %s %s; do ip netns exec $n nft 'add table inet chaos; add chain inet "
                 "chaos arriving { type filter hook input priority 0; }'; done",
                 s, w);
}

/* So many of a hundred packets that arrive in the namespace over the link are lost. */
static void lose(struct chaos_run *run, const char *space, unsigned percent)
{
    char random[32] = "";
    if (percent < 100) snprintf(random, sizeof random, "numgen random mod 100 '<' %u", percent);
    bool done = shell("ip netns exec %s nft flush chain inet chaos arriving", space);
    if (done && percent > 0)
        done = shell("ip netns exec %s nft add rule inet chaos arriving iif link0 %s drop", space,
                     random);
    if (!done) chaos_fail(run, "no rule for packets in %s", space);
    chaos_say(run, "%u %% of what arrives at the %s is lost", percent,
              space == network.servers ? "servers" : "workers");
}

/* ---- the run ------------------------------------------------------------------------------------
 */

static void start_member(struct chaos_run *run, const char *const *prefix, const char *role,
                         const char *const *command)
{
    char log[320], host[64];
    const char *argv[CHAOS_ARGUMENTS_MAX];
    unsigned count = 0;
    snprintf(log, sizeof log, "%s/logs/%s.log", run->run_dir, role);
    snprintf(host, sizeof host, "network.host=%s",
             prefix == network.server_prefix ? SERVER_HOST : WORKER_HOST);
    for (; *prefix != NULL; prefix++)
        argv[count++] = *prefix;
    const char *rest[] = {"sh", "-c", "exec \"$@\" >>\"$0\" 2>&1", log};
    for (unsigned i = 0; i < 4; i++)
        argv[count++] = rest[i];
    for (; *command != NULL; command++)
        argv[count++] = *command;
    const char *settings[] = {"--set", "network.transport=tcp", "--set", host, NULL};
    memcpy(&argv[count], settings, sizeof settings);
    CHECK(run->member_count < CHAOS_MEMBERS_MAX);
    process_start(&run->members[run->member_count], source_dir(), argv);
    /* All the commands before replace themselves by the next one. */
    pid_t pid = run->members[run->member_count++].pid;
    if (!shell("echo %d >%s/pids/%s", (int)pid, run->run_dir, role))
        chaos_fail(run, "the process of %s cannot be written down", role);
}

static char *endpoint_of(struct chaos_run *run)
{
    char path[256];
    char *endpoint = NULL;
    size_t bytes = 0;
    struct error error;
    chaos_run_await_endpoint(run);
    snprintf(path, sizeof path, "%s/coordinator.endpoint", run->run_dir);
    if (file_read_all(path, 4096, &endpoint, &bytes, &error) != STATUS_OK)
        chaos_fail(run, "%s", error.text);
    endpoint[strcspn(endpoint, "\n")] = '\0';
    return endpoint;
}

/* What launch.sh does, over two namespaces. */
static void start_members(struct chaos_run *run)
{
    char ps[256], graph[256], worker[256];
    snprintf(ps, sizeof ps, "%s/anthill-ps", bin_dir());
    snprintf(graph, sizeof graph, "%s/anthill-graph", bin_dir());
    snprintf(worker, sizeof worker, "%s/anthill-worker", bin_dir());
    struct process import = {0};
    const char *import_argv[] = {graph, "import", "--config", run->config, NULL};
    if (process_run(&import, source_dir(), 60, import_argv) != 0)
        chaos_fail(run, "no graph: %s", import.err);
    process_deinit(&import);
    if (!shell("mkdir -p %s/logs %s/pids", run->run_dir, run->run_dir))
        chaos_fail(run, "no folders for logs and pids");
    start_member(run, network.server_prefix, "coordinator",
                 (const char *[]){ps, "coordinator", run->config, "--endpoint",
                                  "tcp://" SERVER_HOST ":*", NULL});
    char *endpoint = endpoint_of(run);
    for (unsigned i = 0; i < SERVERS; i++) {
        char role[32], number[16];
        snprintf(role, sizeof role, "server-%u", i);
        snprintf(number, sizeof number, "%u", i);
        start_member(run, network.server_prefix, role,
                     (const char *[]){ps, "serve", run->config, "--server", number, "--coordinator",
                                      endpoint, NULL});
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        char role[32];
        snprintf(role, sizeof role, "worker-%u", i);
        start_member(run, network.worker_prefix, role,
                     (const char *[]){worker, "train", run->config, "--coordinator", endpoint,
                                      "--name", role, NULL});
    }
    free(endpoint);
}

/* Member 0 is the coordinator, whose end is that of the run. */
static void await_end(struct chaos_run *run)
{
    char path[256];
    char *result = NULL;
    size_t bytes = 0;
    int code = process_wait(&run->members[0], 240);
    snprintf(path, sizeof path, "%s/result.json", run->run_dir);
    if (code != 0 || file_read_all(path, 1 << 20, &result, &bytes, NULL) != STATUS_OK ||
        strstr(result, "\"status\":\"ok\"") == NULL)
        chaos_fail(run, "the coordinator ended with exit code %d: %s", code,
                   result != NULL ? result : "no result.json");
    for (unsigned i = 1; i < run->member_count; i++) {
        code = process_wait(&run->members[i], 120);
        if (code != 0) chaos_fail(run, "member %u ended with exit code %d", i, code);
    }
    chaos_say(run, "the run is ok: %g epochs", json_number(result, NULL, "epochs"));
    free(result);
}

/* ---- faults -------------------------------------------------------------------------------------
 */

struct network_options {
    unsigned loss; /* percent */
    bool partitions;
    double seconds;
};

static void run_faults(struct chaos_run *run, const struct network_options *options)
{
    if (options->loss > 0) {
        lose(run, network.servers, options->loss);
        lose(run, network.workers, options->loss);
        chaos_run_pass(run, options->seconds);
    }
    const char *sides[] = {network.servers, network.workers};
    for (unsigned i = 0; options->partitions && i < 2; i++) {
        lose(run, sides[i], 100);
        chaos_run_pass(run, options->seconds);
        lose(run, sides[i], options->loss);
        chaos_run_await_safe(run, NULL);
        chaos_run_pass(run, options->seconds);
    }
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct network_options *options = state->input;
    switch (key) {
    case 'l':
        options->loss = (unsigned)strtoul(argument, NULL, 10);
        if (options->loss > 50) argp_error(state, "%s: expected 0 to 50", argument);
        return 0;
    case 'p':
        options->partitions = true;
        return 0;
    case 's':
        options->seconds = strtod(argument, NULL);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option argp_options[] = {
    {"loss", 'l', "PERCENT", 0, "of the packets, in both directions", 0},
    {"partitions", 'p', NULL, 0, "then nothing arrives at the servers, then nothing at the workers",
     0},
    {"seconds", 's', "N", 0, "how long each fault is there, and time between (default 5)", 0},
    {0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc = "Servers and workers in two network namespaces that lose packets (as root; needs ip and "
           "nft).",
};

int chaos_network(int argc, char **argv)
{
    struct network_options options = {.seconds = 5};
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    if (!make_network()) {
        fprintf(stderr, "skipped: network namespaces with nftables are not possible here\n");
        return SKIPPED;
    }
    static struct chaos_run run;
    struct chaos_options chaos = {
        .seed = 1,
        .servers = SERVERS,
        .workers = WORKERS,
        .replicas = 2,
        /* A step takes half a second where a fifth of all packets is lost. */
        .epochs = options.loss > 10  ? 15
                  : options.loss > 0 ? 60
                                     : 0,
    };
    chaos_run_prepare(&run, &chaos);
    run.status_prefix = network.server_prefix;
    start_members(&run);
    chaos_run_await_training(&run);
    chaos_run_start_job(&run, network.worker_prefix);
    run_faults(&run, &options);
    chaos_run_finish_job(&run);
    await_end(&run);
    chaos_run_deinit(&run);
    return 0;
}
