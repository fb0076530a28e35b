#include "worker/score.h"

#include <math.h>
#include <stdlib.h>

#include "common/check.h"

/* Per class: how often it is predicted, how often it is the label, how often both. */
struct tally {
    uint64_t predicted, labelled, both;
};

/* The first of the largest logits, as NumPy's argmax; adds the row's cross-entropy to *loss. */
static uint32_t score_row(const float *logits, uint32_t class_count, uint32_t label, double *loss)
{
    uint32_t best = 0;
    for (uint32_t c = 1; c < class_count; c++)
        if (logits[c] > logits[best]) best = c;
    double top = (double)logits[best], sum = 0.0;
    for (uint32_t c = 0; c < class_count; c++)
        sum += exp((double)logits[c] - top);
    *loss += log(sum) + top - (double)logits[label];
    return best;
}

/* F1 of a class is 2 tp / (2 tp + fp + fn); classes that never occur are left out of the mean. */
static double macro_f1(const struct tally *tallies, uint32_t class_count)
{
    double sum = 0.0;
    uint32_t occurring = 0;
    for (uint32_t c = 0; c < class_count; c++) {
        uint64_t seen = tallies[c].predicted + tallies[c].labelled;
        if (seen == 0) continue;
        sum += 2.0 * (double)tallies[c].both / (double)seen;
        occurring++;
    }
    return occurring > 0 ? sum / occurring : 0.0;
}

void score_classification_of(const float *logits, const uint64_t *nodes, const int32_t *labels,
                             uint64_t count, uint32_t class_count, struct score *score)
{
    *score = (struct score){0};
    struct tally *tallies = calloc(class_count, sizeof *tallies);
    CHECK(tallies != NULL && class_count > 0);
    uint64_t right = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (labels[i] < 0) continue;
        uint32_t label = (uint32_t)labels[i];
        CHECK(label < class_count);
        const float *row = logits + (nodes != NULL ? nodes[i] : i) * class_count;
        uint32_t predicted = score_row(row, class_count, label, &score->loss);
        tallies[predicted].predicted++;
        tallies[label].labelled++;
        if (predicted == label) {
            tallies[label].both++;
            right++;
        }
        score->count++;
    }
    if (score->count > 0) {
        score->accuracy = (double)right / (double)score->count;
        score->loss /= (double)score->count;
        score->macro_f1 = macro_f1(tallies, class_count);
    }
    free(tallies);
}

void score_classification(const float *logits, const int32_t *labels, uint64_t count,
                          uint32_t class_count, struct score *score)
{
    score_classification_of(logits, NULL, labels, count, class_count, score);
}
