/* What the three programs share: start-up checks, subcommands, stop signals, the last error. */
#ifndef ANTHILL_COMMON_PROGRAM_H
#define ANTHILL_COMMON_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

/* One subcommand; `run` gets argv with argv[0] = "anthill-ps serve" (for argp) and returns the
 * program's exit code. */
struct program_command {
    const char *name;
    const char *summary; /* one line of `--help` */
    int (*run)(int argc, char **argv);
};

/* main() of a program: checks jemalloc and BLAS, sets up signals (SIGINT and SIGTERM ask to stop,
 * SIGPIPE is ignored), raises the soft limit of open files to the hard one, handles --help and
 * --version, finds the subcommand and runs it. An unknown one is reported with those that exist;
 * exit code 64. argp's own usage errors exit with 64 too. */
int program_main(const char *name, const char *purpose, const struct program_command *commands,
                 size_t command_count, int argc, char **argv);

/* True after SIGINT or SIGTERM. Any thread. */
bool program_stop_requested(void);
void program_request_stop(void);

/* One line on stderr with what was chosen at the start: allocator, instruction set of the kernels
 * (common/kernel_clones.h), OpenBLAS's family. For the commands that run for long. */
void program_log_start(void);

/* Prints "NAME: text" to stderr and returns the exit code for `status`. */
int program_fail(enum status status, const struct error *error);

/* A string for `--set` options collected by argp: grows an array of borrowed strings. */
struct string_list {
    char **items;
    size_t count;
};
void string_list_add(struct string_list *list, char *item);
void string_list_deinit(struct string_list *list);

/* "jemalloc 5.3.0", or "libc malloc" in sanitizer builds. */
const char *program_allocator(void);

#endif
