#include "contract.h"
#include <stdlib.h>
#include <string.h>

typedef marketprism_adapter_types_event_t event_t;
typedef marketprism_adapter_types_note_t note_t;

/* Room for one more element. */
static void *grown(void *list, size_t len, size_t *room, size_t size) {
    if (len < *room) {
        return list;
    }
    *room = *room == 0 ? 16 : *room * 2;
    list = realloc(list, *room * size);
    if (list == NULL) {
        abort();
    }
    return list;
}

void output_begin(output_t *output, size_t frames, size_t bytes) {
    // A level takes at least 15 bytes of text, most twice that; numbers of levels are even.
    *output = (output_t){.events_room = frames, .levels_room = (bytes / 8 + 2) & ~(size_t)1};
    output->normalized.events.ptr = allocated(frames * sizeof(event_t));
    output->normalized.levels.ptr = allocated(output->levels_room * sizeof(int64_t));
}

void output_event(output_t *output, const marketprism_adapter_types_payload_t *payload) {
    marketprism_adapter_types_list_event_t *events = &output->normalized.events;
    events->ptr = grown(events->ptr, events->len, &output->events_room, sizeof(event_t));
    events->ptr[events->len++] = (event_t){output->frame, *payload};
}

void output_level(output_t *output, int64_t price, int64_t quantity) {
    venue_adapter_list_s64_t *levels = &output->normalized.levels;
    levels->ptr = grown(levels->ptr, levels->len, &output->levels_room, sizeof(int64_t));
    levels->ptr[levels->len++] = price;
    levels->ptr[levels->len++] = quantity;
}

void output_note(output_t *output, const marketprism_adapter_types_remark_t *remark) {
    marketprism_adapter_types_list_note_t *notes = &output->normalized.notes;
    notes->ptr = grown(notes->ptr, notes->len, &output->notes_room, sizeof(note_t));
    notes->ptr[notes->len++] = (note_t){output->frame, *remark};
}

void output_ignored(output_t *output, ignored_t reason) {
    marketprism_adapter_types_remark_t remark = {.tag = MARKETPRISM_ADAPTER_TYPES_REMARK_IGNORED};
    remark.val.ignored = reason;
    output_note(output, &remark);
}

void output_end(output_t *output, normalized_t *normalized) {
    *normalized = output->normalized;
    // The generated code frees lists that hold something.
    if (normalized->events.len == 0) {
        free(normalized->events.ptr);
        normalized->events.ptr = NULL;
    }
    if (normalized->levels.len == 0) {
        free(normalized->levels.ptr);
        normalized->levels.ptr = NULL;
    }
}
