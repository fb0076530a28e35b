#include "ps/serve_command.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/file.h"
#include "common/log.h"
#include "common/program.h"
#include "common/stats_server.h"
#include "common/transport.h"
#include "ps/server.h"

#define ENDPOINT_BYTES 512
#define SERVER_MAX     1000000

struct serve_arguments {
    const char *config, *coordinator, *endpoint, *stats_address;
    struct string_list overrides;
    int server, stats_port; /* -1: not given */
};

enum {
    KEY_SERVER = 256,
    KEY_COORDINATOR,
    KEY_ENDPOINT,
    KEY_SET,
    KEY_STATS_PORT,
    KEY_STATS_ADDRESS,
};

static int parse_number(const char *argument, const char *option, int max, struct argp_state *state)
{
    char *end = NULL;
    long value = strtol(argument, &end, 10);
    if (end == argument || *end != '\0' || value < 0 || value > max) {
        argp_error(state, "--%s %s: expected 0 to %d", option, argument, max);
    }
    return (int)value;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct serve_arguments *arguments = state->input;
    switch (key) {
    case KEY_SERVER:
        arguments->server = parse_number(argument, "server", SERVER_MAX, state);
        return 0;
    case KEY_COORDINATOR:
        arguments->coordinator = argument;
        return 0;
    case KEY_ENDPOINT:
        arguments->endpoint = argument;
        return 0;
    case KEY_SET:
        string_list_add(&arguments->overrides, argument);
        return 0;
    case KEY_STATS_PORT:
        arguments->stats_port = parse_number(argument, "stats-port", 65535, state);
        return 0;
    case KEY_STATS_ADDRESS:
        arguments->stats_address = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->config != NULL) return ARGP_ERR_UNKNOWN;
        arguments->config = argument;
        return 0;
    case ARGP_KEY_END:
        if (arguments->config == NULL) argp_error(state, "expected a configuration file");
        if (arguments->coordinator == NULL) argp_error(state, "expected --coordinator ENDPOINT");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"server", KEY_SERVER, "N", 0,
     "this server's number in the run, from 0 (default: the number at the end of the host's name)",
     0},
    {"coordinator", KEY_COORDINATOR, "ENDPOINT", 0, "where the coordinator listens", 0},
    {"endpoint", KEY_ENDPOINT, "ENDPOINT", 0,
     "listen on tcp://HOST:*, tcp://HOST:PORT (shard t: PORT + t) or ipc://PATH (shard t: "
     "PATH-shard-t); default by network.transport: beside the coordinator's socket, or free ports "
     "of network.host",
     0},
    {"set", KEY_SET, "KEY=VALUE", 0, "override a configuration key; may be repeated", 0},
    {"stats-port", KEY_STATS_PORT, "PORT", 0,
     "serve /metrics, /stats, /healthz, /readyz (0: the system chooses)", 0},
    {"stats-address", KEY_STATS_ADDRESS, "ADDRESS", 0, "... on this address (default 127.0.0.1)",
     0},
    {0},
};

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "CONFIG",
    .doc = "Holds a part of the tables: servers.shards threads, each with an endpoint of its own. "
           "Starts from the checkpoint that the coordinator names, and ends when it says so.\v"
           "Exit codes: 0 the run is over, or asked to stop; 69 no coordinator for "
           "network.timeout_seconds, or an endpoint in use; 77 another process has taken this "
           "server's place; 78 configuration.",
};

/* server-3 is number 3: the pods of a StatefulSet are named so. */
static enum status number_of_host(int *server, struct error *error)
{
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
    char *end = host + strcspn(host, ".");
    *end = '\0';
    char *digits = end;
    while (digits > host && digits[-1] >= '0' && digits[-1] <= '9') {
        digits--;
    }
    if (digits == end || end - digits > 6) {
        return error_set(error, STATUS_USAGE,
                         "--server is not given, and the host's name \"%s\" ends in no number",
                         host);
    }
    *server = atoi(digits);
    return STATUS_OK;
}

static enum status default_endpoint(const struct config *config,
                                    const struct serve_arguments *arguments,
                                    char endpoint[ENDPOINT_BYTES], struct error *error)
{
    int written;
    const char *coordinator = arguments->coordinator;
    if (config->network.transport == CONFIG_TCP) {
        written = snprintf(endpoint, ENDPOINT_BYTES, "tcp://%s:*", config->network.host);
    } else if (strncmp(coordinator, "ipc://", 6) == 0) {
        const char *slash = strrchr(coordinator + 6, '/');
        int folder = slash != NULL ? (int)(slash - coordinator) + 1 : 6;
        written = snprintf(endpoint, ENDPOINT_BYTES, "%.*sserver-%d", folder, coordinator,
                           arguments->server);
    } else {
        return error_set(error, STATUS_USAGE,
                         "network.transport is ipc, the coordinator's endpoint %s is not: "
                         "--endpoint is needed",
                         coordinator);
    }
    if (written < ENDPOINT_BYTES) return STATUS_OK;
    return error_set(error, STATUS_USAGE, "the endpoint beside %s is too long", coordinator);
}

static bool all_ready(void *context)
{
    return server_ready(context);
}

static bool all_running(void *context)
{
    return server_running(context);
}

static enum status serve(const struct server_options *server_options,
                         const struct serve_arguments *arguments, struct error *error)
{
    program_log_start();
    struct server *server;
    enum status status = server_start(&server, server_options, error);
    if (status != STATUS_OK) return status;
    struct stats_server *stats = NULL;
    if (arguments->stats_port >= 0) {
        struct stats_handlers handlers = {
            .healthy = all_running, .ready = all_ready, .context = server};
        status = stats_server_start(&stats, arguments->stats_address,
                                    (uint16_t)arguments->stats_port, &handlers, error);
        if (status != STATUS_OK) server_stop(server);
        if (stats != NULL) {
            log_event(LOG_INFO, "stats_listening", "address=%s port=%u", arguments->stats_address,
                      (unsigned)stats_server_port(stats));
        }
    }
    while (server_running(server)) {
        struct timespec turn = {.tv_nsec = 20 * (long)NS_PER_MS};
        nanosleep(&turn, NULL);
    }
    stats_server_stop(stats);
    struct error ended;
    enum status ended_status = server_join(server, &ended);
    if (status == STATUS_OK && ended_status != STATUS_OK) {
        status = ended_status;
        *error = ended;
    }
    transport_shutdown();
    return status;
}

static enum status run(struct serve_arguments *arguments, struct error *error)
{
    struct config *config = NULL;
    char chosen[ENDPOINT_BYTES];
    const char *endpoint = arguments->endpoint;
    char checkpoints[FILE_PATH_BYTES];
    enum status status = config_load(&config, arguments->config, arguments->overrides.items,
                                     arguments->overrides.count, error);
    if (status != STATUS_OK) return status;
    if (arguments->server < 0) status = number_of_host(&arguments->server, error);
    if (status == STATUS_OK && (uint32_t)arguments->server >= config->servers.count) {
        status = error_set(error, STATUS_CONFIG,
                           "--server %d: servers.count is %u, so numbers are 0 to %u",
                           arguments->server, config->servers.count, config->servers.count - 1);
    }
    if (status == STATUS_OK && endpoint == NULL) {
        status = default_endpoint(config, arguments, chosen, error);
        endpoint = chosen;
    }
    if (status == STATUS_OK) {
        status = file_path(checkpoints, error, "%s/checkpoints", config->run.dir);
    }
    if (status == STATUS_OK) {
        struct server_options server_options = {
            .server = (uint32_t)arguments->server,
            .shard_count = config->servers.shards,
            .endpoint = endpoint,
            .coordinator = arguments->coordinator,
            .checkpoint_dir = checkpoints,
            .timeout_ns = (uint64_t)((double)config->network.timeout_seconds * (double)NS_PER_S),
        };
        status = serve(&server_options, arguments, error);
    }
    config_destroy(config);
    return status;
}

int serve_command(int argc, char **argv)
{
    struct serve_arguments arguments = {
        .stats_address = "127.0.0.1", .server = -1, .stats_port = -1};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    struct error error = {0};
    enum status status = run(&arguments, &error);
    string_list_deinit(&arguments.overrides);
    return status == STATUS_OK ? 0 : program_fail(status, &error);
}
