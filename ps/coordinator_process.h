/* The coordinator's main loop: drives the state machine over a socket, saves its state, carries out
 * its effects, and shows how far the run is. thread: the process's main thread. */
#ifndef ANTHILL_PS_COORDINATOR_PROCESS_H
#define ANTHILL_PS_COORDINATOR_PROCESS_H

#include <stdbool.h>

#include "common/config.h"
#include "common/error.h"
#include "ps/progress.h"

struct coordinator_process_options {
    const struct config *config;
    const char *endpoint; /* NULL: chosen from the configuration */
    const char *stats_address;
    int stats_port; /* -1: none; 0: the system chooses */
    enum progress_mode progress;
    int progress_descriptor;
    bool overwrite;
};

/* Runs until the run is over or the process is asked to stop.
 *   below_expect  the run is done, but misses the floor in `expect`; the text says by how much
 *   errors        STATUS_STOPPED when asked to stop before the end: started again, it goes on;
 *                 STATUS_CONFIG, STATUS_CORRUPT, STATUS_IO, STATUS_UNAVAILABLE; those that a worker
 *                 ended the run with */
enum status coordinator_process_run(const struct coordinator_process_options *options,
                                    bool *below_expect, struct error *error) MUST_CHECK;

#endif
