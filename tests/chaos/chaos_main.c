/* anthill-chaos: faults done to whole runs of the shipped programs. */
#include <stdlib.h>

#include "chaos_command.h"
#include "common/program.h"

int main(int argc, char **argv)
{
    static const struct program_command commands[] = {
        {"kills", "SIGKILL of random servers, workers and the coordinator", chaos_kills},
        {"stops", "SIGSTOP for longer than others wait, and SIGCONT", chaos_stops},
        {"network", "packets that are lost, and partitions", chaos_network},
        {"disk", "a full disk under the checkpoints", chaos_disk},
        {"clients", "many clients of one server at once", chaos_clients},
        {"soak", "a long run whose processes keep their size", chaos_soak},
    };
    setenv("ANTHILL_SOURCE_DIR", CHAOS_SOURCE_DIR, 0);
    setenv("ANTHILL_BIN_DIR", CHAOS_BIN_DIR, 0);
    return program_main("anthill-chaos", "Faults in whole runs, with exact sums in the end.",
                        commands, sizeof commands / sizeof commands[0], argc, argv);
}
