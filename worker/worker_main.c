/* anthill-worker: trains models over parameter servers, and uses what was trained. */
#include "common/program.h"
#include "worker/commands.h"

int main(int argc, char **argv)
{
    static const struct program_command commands[] = {
        {"train", "take part in a run: sample, compute, pull and push", train_command},
        {"eval", "score a finished run's checkpoint on its splits", eval_command},
        {"infer", "write predictions and embeddings of every node as .npy", infer_command},
    };
    return program_main("anthill-worker", "Trains models on graphs over parameter servers.",
                        commands, sizeof commands / sizeof *commands, argc, argv);
}
