#include "ps/run_arguments.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/file.h"

enum { KEY_COORDINATOR = 512, KEY_JSON };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct run_arguments *arguments = state->input;
    switch (key) {
    case KEY_COORDINATOR:
        arguments->coordinator = argument;
        return 0;
    case KEY_JSON:
        arguments->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->run_dir != NULL) return ARGP_ERR_UNKNOWN;
        arguments->run_dir = argument;
        return 0;
    case ARGP_KEY_END:
        if ((arguments->run_dir == NULL) == (arguments->coordinator == NULL))
            argp_error(state, "expected either RUN_DIR or --coordinator ENDPOINT");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"coordinator", KEY_COORDINATOR, "ENDPOINT", 0, "ask this coordinator", 0},
    {"json", KEY_JSON, NULL, 0, "print the answer as one JSON object", 0},
    {0},
};

static const struct argp argp = {.options = options, .parser = parse};

const struct argp_child run_arguments_argp[] = {{&argp, 0, NULL, 0}, {0}};

enum status run_arguments_endpoint(const struct run_arguments *arguments, char **endpoint,
                                   struct error *error)
{
    if (arguments->coordinator != NULL) {
        *endpoint = strdup(arguments->coordinator);
        CHECK(*endpoint != NULL);
        return STATUS_OK;
    }
    char path[FILE_PATH_BYTES];
    size_t bytes = 0;
    *endpoint = NULL;
    enum status status = file_path(path, error, "%s/coordinator.endpoint", arguments->run_dir);
    if (status == STATUS_OK) status = file_read_all(path, 4096, endpoint, &bytes, error);
    if (status == STATUS_NOT_FOUND) {
        return error_set(error, status, "no run goes on in %s: there is no coordinator.endpoint",
                         arguments->run_dir);
    }
    if (status == STATUS_OK) (*endpoint)[strcspn(*endpoint, "\n")] = '\0';
    return status;
}
