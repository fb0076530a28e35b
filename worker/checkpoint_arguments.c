#include "worker/checkpoint_arguments.h"

#include <stdlib.h>

enum { KEY_STEP = 512, KEY_SET };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct checkpoint_arguments *arguments = state->input;
    char *end = NULL;
    switch (key) {
    case KEY_STEP:
        arguments->step = strtoull(argument, &end, 10);
        if (*end != '\0' || arguments->step == 0)
            argp_error(state, "--step %s: expected the number of a checkpoint", argument);
        return 0;
    case KEY_SET:
        string_list_add(&arguments->overrides, argument);
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->run != NULL) return ARGP_ERR_UNKNOWN;
        arguments->run = argument;
        return 0;
    case ARGP_KEY_END:
        if (arguments->run == NULL) argp_error(state, "expected the folder of a run");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"step", KEY_STEP, "N", 0, "the checkpoint to use (default: the best of the run)", 0},
    {"set", KEY_SET, "KEY=VALUE", 0, "override a key of the run's configuration", 0},
    {0},
};

static const struct argp argp = {.options = options, .parser = parse};

const struct argp_child checkpoint_arguments_argp[] = {{&argp, 0, NULL, 0}, {0}};

enum status checkpoint_arguments_open(const struct checkpoint_arguments *arguments, struct job *job,
                                      struct evaluator_input *input, char step_dir[FILE_PATH_BYTES],
                                      struct error *error)
{
    char path[FILE_PATH_BYTES];
    enum status status = file_path(path, error, "%s/run.yaml", arguments->run);
    if (status == STATUS_OK) status = job_open(job, path, &arguments->overrides, error);
    if (status == STATUS_OK)
        status = job_checkpoint(arguments->run, arguments->step, step_dir, error);
    return status == STATUS_OK ? job_open_checkpoint(job, step_dir, input, error) : status;
}
