/* anthill-graph check: whether a graph folder is whole. */
#include <argp.h>
#include <stdio.h>
#include <sysexits.h>

#include "common/program.h"
#include "graph/graph_check.h"
#include "graph/graph_commands.h"

static error_t parse(int key, char *value, struct argp_state *state)
{
    const char **path = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        if (*path != NULL) argp_error(state, "\"%s\" is one argument too many", value);
        *path = value;
        return 0;
    case ARGP_KEY_END:
        if (*path == NULL) argp_error(state, "the folder of a graph is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .parser = parse,
    .args_doc = "DIR",
    .doc = "Reads all files of a graph, compares sizes and checksums, and checks every number in "
           "them. Ends with 65 and the name of the file when something is wrong."};

int check_command(int argc, char **argv)
{
    const char *path = NULL;
    struct error error = {.text = ""};
    argp_parse(&argp, argc, argv, 0, NULL, &path);
    enum status status = graph_check(path, &error);
    if (status != STATUS_OK) return program_fail(status, &error);
    printf("%s is whole\n", path);
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}
