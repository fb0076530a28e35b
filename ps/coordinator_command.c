#include "ps/coordinator_command.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "common/config.h"
#include "common/program.h"
#include "ps/coordinator_process.h"

struct coordinator_arguments {
    const char *config;
    struct string_list overrides;
    struct coordinator_process_options process;
    bool check;
};

enum {
    KEY_ENDPOINT = 256,
    KEY_SET,
    KEY_STATS_PORT,
    KEY_STATS_ADDRESS,
    KEY_PROGRESS,
    KEY_PROGRESS_FD,
    KEY_OVERWRITE,
    KEY_CHECK,
};

static int parse_number(const char *argument, const char *option, int max, struct argp_state *state)
{
    char *end = NULL;
    long value = strtol(argument, &end, 10);
    if (end == argument || *end != '\0' || value < 0 || value > max)
        argp_error(state, "--%s %s: expected 0 to %d", option, argument, max);
    return (int)value;
}

static enum progress_mode parse_mode(const char *argument, struct argp_state *state)
{
    static const char *const names[] = {[PROGRESS_AUTO] = "auto",
                                        [PROGRESS_BAR] = "bar",
                                        [PROGRESS_LINES] = "lines",
                                        [PROGRESS_NONE] = "none"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(argument, names[i]) == 0) return (enum progress_mode)i;
    }
    argp_error(state, "--progress %s: expected auto, bar, lines or none", argument);
    return PROGRESS_NONE;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct coordinator_arguments *arguments = state->input;
    struct coordinator_process_options *process = &arguments->process;
    switch (key) {
    case KEY_ENDPOINT:
        process->endpoint = argument;
        return 0;
    case KEY_SET:
        string_list_add(&arguments->overrides, argument);
        return 0;
    case KEY_STATS_PORT:
        process->stats_port = parse_number(argument, "stats-port", 65535, state);
        return 0;
    case KEY_STATS_ADDRESS:
        process->stats_address = argument;
        return 0;
    case KEY_PROGRESS:
        process->progress = parse_mode(argument, state);
        return 0;
    case KEY_PROGRESS_FD:
        process->progress_descriptor = parse_number(argument, "progress-fd", 1023, state);
        return 0;
    case KEY_OVERWRITE:
        process->overwrite = true;
        return 0;
    case KEY_CHECK:
        arguments->check = true;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->config != NULL) return ARGP_ERR_UNKNOWN;
        arguments->config = argument;
        return 0;
    case ARGP_KEY_END:
        if (arguments->config == NULL) argp_error(state, "expected a configuration file");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"endpoint", KEY_ENDPOINT, "ENDPOINT", 0,
     "listen on tcp://HOST:PORT or ipc://PATH (default: by network.transport, "
     "ipc://RUN.DIR/sockets/coordinator or a free port of network.host)",
     0},
    {"set", KEY_SET, "KEY=VALUE", 0, "override a configuration key; may be repeated", 0},
    {"stats-port", KEY_STATS_PORT, "PORT", 0,
     "serve /metrics, /stats, /healthz, /readyz (0: the system chooses)", 0},
    {"stats-address", KEY_STATS_ADDRESS, "ADDRESS", 0, "... on this address (default 127.0.0.1)",
     0},
    {"progress", KEY_PROGRESS, "MODE", 0,
     "auto (default: a bar on a terminal, else lines), bar, lines, none", 0},
    {"progress-fd", KEY_PROGRESS_FD, "FD", 0, "file descriptor for progress (default 2, stderr)",
     0},
    {"overwrite", KEY_OVERWRITE, NULL, 0,
     "begin a new run in a folder that holds an older one; its state, metrics and checkpoints are "
     "removed",
     0},
    {"check", KEY_CHECK, NULL, 0, "check the configuration, print what launch.sh needs, and end",
     0},
    {0},
};

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "CONFIG",
    .doc = "Leads a run: hands out leases on training seeds, decides evaluations, checkpoints and "
           "the end. Started again after a crash with the same arguments, it goes on.\v"
           "The result is in RUN.DIR/result.json. Exit codes: 0 done; 65 the result is below the "
           "floor in expect:, or data are bad; 69 no worker, or a server missing, for "
           "network.timeout_seconds; 75 asked to stop before the end, or another coordinator is at "
           "work in RUN.DIR; 78 configuration.",
};

/* ---- --check -----------------------------------------------------------------------------------
 */

/* As a word of a shell, whatever is in it. */
static void print_quoted(const char *value)
{
    putchar('\'');
    for (; *value != '\0'; value++) {
        if (*value == '\'') {
            fputs("'\\''", stdout);
        } else {
            putchar(*value);
        }
    }
    putchar('\'');
}

static void print_text(const char *name, const char *value)
{
    printf("%s=", name);
    print_quoted(value != NULL ? value : "");
    putchar('\n');
}

static void print_settings(const struct config *config)
{
    print_text("run_dir", config->run.dir);
    print_text("run_name", config->run.name);
    print_text("graph_path", config->graph.path);
    print_text("graph_import", config->graph.import);
    printf("servers=%u\nworkers=%u\n", config->servers.count, config->workers.count);
    print_text("transport", config->network.transport == CONFIG_TCP ? "tcp" : "ipc");
    print_text("host", config->network.host);
    print_text("baseline_name", config->run.baseline_name);
    for (unsigned i = 0; i < config->run.baseline_count; i++) {
        printf("baseline[%u]=", i);
        print_quoted(config->run.baseline[i]);
        putchar('\n');
    }
}

/* The slot map goes out as one message. */
static enum status check_map(const struct config *config, struct error *error)
{
    uint64_t shards = (uint64_t)config->servers.count * config->servers.shards;
    uint64_t bytes = (uint64_t)config->servers.slots * (shards > 128 ? 3 : 1) +
                     shards * (config->servers.replicas > 1 ? 620 : 320);
    if (bytes <= 900000) return STATUS_OK;
    return error_set(error, STATUS_CONFIG,
                     "servers: a map of %u slots over %llu shards is too large; take fewer slots",
                     config->servers.slots, (unsigned long long)shards);
}

int coordinator_command(int argc, char **argv)
{
    struct coordinator_arguments arguments = {
        .process = {.stats_address = "127.0.0.1", .stats_port = -1, .progress_descriptor = 2}};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    struct config *config = NULL;
    struct error error = {0};
    bool below_expect = false;
    enum status status = config_load(&config, arguments.config, arguments.overrides.items,
                                     arguments.overrides.count, &error);
    if (status == STATUS_OK) status = check_map(config, &error);
    if (status == STATUS_OK && arguments.check) {
        print_settings(config);
        if (fflush(stdout) != 0) status = error_set(&error, STATUS_IO, "standard output");
    } else if (status == STATUS_OK) {
        arguments.process.config = config;
        status = coordinator_process_run(&arguments.process, &below_expect, &error);
    }
    int exit_code = status == STATUS_OK ? 0 : program_fail(status, &error);
    if (status == STATUS_OK && below_expect) {
        fprintf(stderr, "anthill-ps: test/%s of the result is below expect.value %g\n",
                config->expect.metric, (double)config->expect.value);
        exit_code = EX_DATAERR;
    }
    config_destroy(config);
    string_list_deinit(&arguments.overrides);
    return exit_code;
}
