/* anthill-graph: makes, checks and shows graph folders. */
#include "common/program.h"
#include "graph/graph_commands.h"

static const struct program_command commands[] = {
    {"import", "make a graph from edge lists, arrays, triples or package lists", import_command},
    {"info", "show what a graph has", info_command},
};

int main(int argc, char **argv)
{
    return program_main("anthill-graph", "Graphs for Anthill: import, check, partition, show.",
                        commands, sizeof commands / sizeof *commands, argc, argv);
}
