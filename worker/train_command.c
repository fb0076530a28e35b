#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/program.h"
#include "common/stats_server.h"
#include "worker/commands.h"
#include "worker/job.h"
#include "worker/trainer.h"

struct train_arguments {
    const char *config;
    const char *coordinator;
    const char *name;
    int stats_port; /* -1: none */
    bool check;
    struct string_list overrides;
};

enum { KEY_COORDINATOR = 256, KEY_NAME, KEY_SET, KEY_STATS_PORT, KEY_CHECK };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct train_arguments *arguments = state->input;
    char *end = NULL;
    switch (key) {
    case KEY_COORDINATOR:
        arguments->coordinator = argument;
        return 0;
    case KEY_NAME:
        arguments->name = argument;
        return 0;
    case KEY_SET:
        string_list_add(&arguments->overrides, argument);
        return 0;
    case KEY_STATS_PORT:
        arguments->stats_port = (int)strtol(argument, &end, 10);
        if (*end != '\0' || arguments->stats_port < 0 || arguments->stats_port > 65535)
            argp_error(state, "--stats-port %s: expected 0 to 65535", argument);
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
    {"coordinator", KEY_COORDINATOR, "ENDPOINT", 0,
     "the run's coordinator (default: what coordinator.endpoint in the run's folder says)", 0},
    {"name", KEY_NAME, "NAME", 0, "name in logs and status (default: worker-HOST-PID)", 0},
    {"set", KEY_SET, "KEY=VALUE", 0, "override a configuration key; may be repeated", 0},
    {"stats-port", KEY_STATS_PORT, "PORT", 0,
     "serve /metrics, /stats, /healthz, /readyz on 127.0.0.1 (0: the system chooses)", 0},
    {"check", KEY_CHECK, NULL, 0,
     "check configuration, graph and model against each other, print their size, and end", 0},
    {0},
};

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "CONFIG",
    .doc = "Takes part in a run until it is over. Any number may run, come and go.\v"
           "SIGTERM finishes the batch, gives the leases back and exits.",
};

static int check(const struct job *job)
{
    const struct graph_info *info = graph_info(job->graph);
    uint32_t parameters = 0;
    model_parameters(job->model, &parameters);
    printf("graph=%s nodes=%llu edges=%llu features=%u classes=%u\n"
           "model layers=%u convolutions=%u tensors=%u floats=%llu embedding=%u\n",
           job->config->graph.path, (unsigned long long)info->node_count,
           (unsigned long long)info->edge_count, info->feature_dim, info->class_count,
           job->config->model.layers_count, model_hop_count(job->model), parameters,
           (unsigned long long)model_floats(job->model), model_embedding_dim(job->model));
    return 0;
}

static enum status train(const struct job *job, const struct train_arguments *arguments,
                         struct error *error)
{
    program_log_start();
    char name[128], *found = NULL;
    const char *coordinator = arguments->coordinator;
    enum status status = STATUS_OK;
    if (coordinator == NULL) {
        status = job_coordinator(job, &found, error);
        if (status != STATUS_OK) return status;
        coordinator = found;
    }
    char host[64] = "localhost";
    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "worker-%s-%d", host, (int)getpid());
    struct stats_server *stats = NULL;
    if (arguments->stats_port >= 0) {
        struct stats_handlers handlers = {0};
        status = stats_server_start(&stats, "127.0.0.1", (uint16_t)arguments->stats_port, &handlers,
                                    error);
        if (status != STATUS_OK) goto out;
        log_event(LOG_INFO, "stats_listening", "address=127.0.0.1:%u", stats_server_port(stats));
    }
    struct trainer_options trainer = {
        .config = job->config,
        .graph = job->graph,
        .model = job->model,
        .coordinator = coordinator,
        .name = arguments->name != NULL ? arguments->name : name,
    };
    status = trainer_run(&trainer, error);
out:
    stats_server_stop(stats);
    free(found);
    return status;
}

int train_command(int argc, char **argv)
{
    struct train_arguments arguments = {.stats_port = -1};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    struct job job = {0};
    struct error error = {0};
    int exit_code = 0;
    enum status status = job_open(&job, arguments.config, &arguments.overrides, &error);
    if (status == STATUS_OK) {
        struct trainer_options trainer = {
            .config = job.config, .graph = job.graph, .model = job.model};
        status = trainer_check(&trainer, &error);
    }
    if (status == STATUS_OK && arguments.check) {
        exit_code = check(&job);
    } else if (status == STATUS_OK) {
        status = train(&job, &arguments, &error);
        /* Asked to stop, and stopped in good order. */
        if (status == STATUS_STOPPED) status = STATUS_OK;
    }
    if (status != STATUS_OK) exit_code = program_fail(status, &error);
    job_close(&job);
    string_list_deinit(&arguments.overrides);
    return exit_code;
}
