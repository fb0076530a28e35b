/* The arguments that commands over a run that is going on share: which run, and --json. */
#ifndef ANTHILL_PS_RUN_ARGUMENTS_H
#define ANTHILL_PS_RUN_ARGUMENTS_H

#include <argp.h>
#include <stdbool.h>

#include "common/error.h"

struct run_arguments {
    const char *run_dir, *coordinator; /* one of them */
    bool json;
};

/* As the children of a command's argp; the input of the first is a struct run_arguments. */
extern const struct argp_child run_arguments_argp[];

/* Where the run's coordinator listens. returns owned; free().
 *   errors   STATUS_NOT_FOUND when no run goes on in run_dir */
enum status run_arguments_endpoint(const struct run_arguments *arguments, char **endpoint,
                                   struct error *error) MUST_CHECK;

#endif
