/* anthill-bench: measures the figures that the README quotes. */
#include "common/program.h"
#include "tests/bench/bench.h"

static int gemm_command(int argc, char **argv)
{
    return bench_run(argc, argv, "gemm",
                     "Matrix product of 16384x128 by 128x256 through OpenBLAS, rows cut between "
                     "threads. Limit: multiply-adds on registers alone.",
                     (bench_cases *const[]){gemm_cases, NULL});
}

static int ps_command(int argc, char **argv)
{
    return bench_run(argc, argv, "ps",
                     "Rows of 64 floats, 16,384 random keys a request out of 4 M: in process, and "
                     "over tcp, ipc and shared memory with 4 requests in flight; growth; a "
                     "checkpoint while serving. Limits: a bare loop over an index and an array; "
                     "the exchange of the same frames with nothing behind it; for shared memory "
                     "the table in process.",
                     (bench_cases *const[]){table_cases, grow_cases, ps_cases, checkpoint_cases,
                                            matrix_cases, NULL});
}

static int sample_command(int argc, char **argv)
{
    return bench_run(argc, argv, "sample",
                     "Uniform neighbour sampling without replacement, batches of 1,024 seeds. "
                     "Limit: reading random edges and a number of the node that each names.",
                     (bench_cases *const[]){sample_cases, NULL});
}

static int train_command(int argc, char **argv)
{
    return bench_run(argc, argv, "train",
                     "GraphSAGE-mean trained by real processes, servers included, on one and on "
                     "two cores.",
                     (bench_cases *const[]){train_cases, NULL});
}

static int infer_command(int argc, char **argv)
{
    return bench_run(argc, argv, "infer", "Layer-wise inference over full neighbourhoods.",
                     (bench_cases *const[]){infer_cases, NULL});
}

static const struct program_command commands[] = {
    {"gemm", "matrix products (flop/s)", gemm_command},
    {"ps", "parameter server: tables, pull and push, checkpoints", ps_command},
    {"sample", "neighbour sampling (edges/s)", sample_command},
    {"train", "training by processes (seeds/s)", train_command},
    {"infer", "inference (nodes/s)", infer_command},
};

int main(int argc, char **argv)
{
    return program_main("anthill-bench", "Measures Anthill beside what the machine gives.",
                        commands, sizeof commands / sizeof *commands, argc, argv);
}
