/* anthill-graph: makes, checks and shows graph folders. */
#include "common/program.h"
#include "graph/graph_commands.h"

static const struct program_command commands[] = {
    {"import", "make a graph from edge lists, arrays, triples or package lists", import_command},
    {"generate", "make a random graph for measurements", generate_command},
    {"partition", "write a graph anew in other partitions", partition_command},
    {"info", "show what a graph has", info_command},
    {"check", "read all of a graph and tell what is wrong with it", check_command},
    {"export", "write a graph as tables", export_command},
    {"sample", "sample minibatches and show their sizes and the speed", sample_command},
};

int main(int argc, char **argv)
{
    return program_main("anthill-graph", "Graphs for Anthill: import, check, partition, show.",
                        commands, sizeof commands / sizeof *commands, argc, argv);
}
