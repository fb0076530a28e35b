/* Runs programs for tests: output in memory, every wait with a deadline, nothing left running. */
#ifndef ANTHILL_TESTS_SUPPORT_PROCESS_H
#define ANTHILL_TESTS_SUPPORT_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct process {
    pid_t pid;          /* 0 after process_wait */
    int out_fd, err_fd; /* unlinked temporary files */
    char *out, *err;    /* all output, after process_wait */
    int exit_code;      /* after process_wait; 128 + signal when killed; -1: past the deadline */
};

/* Starts argv (NULL-terminated) in folder `cwd` (NULL: this one); the child leads a group of its
 * own. Fails the test when it cannot be started. */
void process_start(struct process *process, const char *cwd, const char *const *argv);

/* Waits for the end; past the deadline the whole group is killed. Returns exit_code. */
int process_wait(struct process *process, double seconds);

/* Starts and waits. Returns exit_code. */
int process_run(struct process *process, const char *cwd, double seconds, const char *const *argv);

/* Kills what still runs, frees the output. Safe on a zeroed process. */
void process_deinit(struct process *process);

/* True when `holds(context)` became true before the deadline. */
bool await(bool (*holds)(void *context), void *context, double seconds);

/* $ANTHILL_SOURCE_DIR, $ANTHILL_BIN_DIR, and the shared data folder or NULL when it is not there.
 */
const char *source_dir(void);
const char *bin_dir(void);
const char *shared_data(const char *name);

/* A new temporary folder (static storage of one call each); removed with remove_folder. */
char *temporary_folder(char path[64]);
void remove_folder(const char *path);

/* The number after "name": in a JSON text, -1 when it is not there. `after` (may be NULL) is a text
 * that comes first, e.g. "\"test\"". */
double json_number(const char *json, const char *after, const char *name);

/* The last line of a text, without its newline; points into it. */
const char *last_line(char *text);

#endif
