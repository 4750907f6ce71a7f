// Without hooks nothing is checked, but the same kernels run to the same values.
#include <cstdio>

#include "corpus.h"
#include "schedules.h"

int main() {
  Tally tally;
  for (const Schedule& schedule : kSchedules)
    for (const auto& group : {corpus::correct_memory(), corpus::correct_parameters(),
                              corpus::correct_sync(), corpus::correct_hand_over(), corpus::early()})
      for (const corpus::Correct& correct : group) {
        // Only the hooks see a thread that polls a volatile without __nanosleep.
        if (correct.name == "volatile_flag") continue;
        use(schedule);
        tally.check(correct.run(), std::string(correct.name) + ", " + schedule.name);
        for (const auto& r : simt::take_reports())
          tally.check(false, std::string(correct.name) + ": " + simt::to_string(r));
      }
  simt::reset();
  return tally.finish();
}
