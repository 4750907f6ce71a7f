// In builds without hooks nothing can be checked or counted.
namespace simt {

extern const bool kChecksAvailable;
const bool kChecksAvailable = false;

}  // namespace simt
