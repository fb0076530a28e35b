/* anthill-ps: what runs beside the workers. */
#include "common/program.h"
#include "ps/coordinator_command.h"
#include "ps/serve_command.h"
#include "ps/table_command.h"

int main(int argc, char **argv)
{
    static const struct program_command commands[] = {
        {"coordinator", "lead a run: leases, checkpoints, the end", coordinator_command},
        {"serve", "hold tables for workers", serve_command},
        {"status", "show how a run stands", status_command},
        {"export", "write a table of a run to .npy files", export_command},
        {"import", "set rows of a table from .npy files", import_command},
        {"delete", "remove rows of a table", delete_command},
    };
    return program_main(
        "anthill-ps",
        "Parameter servers and the coordinator of a training run, and tools over both.", commands,
        sizeof commands / sizeof commands[0], argc, argv);
}
