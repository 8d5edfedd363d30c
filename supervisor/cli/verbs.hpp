// What each verb does: one overload an options structure, each in the file of its verb.
#pragma once

#include "supervisor/base/result.hpp"
#include "supervisor/cli/options.hpp"
#include "supervisor/cli/session.hpp"

namespace noxsup::cli {

// Each returns the exit code; an error is printed by the caller, once.
Result<int> run_verb(Session& session, const CreateOptions& options);
Result<int> run_verb(Session& session, const StartOptions& options);
Result<int> run_verb(Session& session, const StopOptions& options);
Result<int> run_verb(Session& session, const PauseOptions& options);
Result<int> run_verb(Session& session, const ResumeOptions& options);
Result<int> run_verb(Session& session, const SuspendOptions& options);
Result<int> run_verb(Session& session, const RestartOptions& options);
Result<int> run_verb(Session& session, const ResetOptions& options);
Result<int> run_verb(Session& session, const RenameOptions& options);
Result<int> run_verb(Session& session, const SetOptions& options);
Result<int> run_verb(Session& session, const DeleteOptions& options);
Result<int> run_verb(Session& session, const ListOptions& options);
Result<int> run_verb(Session& session, const StatusOptions& options);
Result<int> run_verb(Session& session, const WaitOptions& options);
Result<int> run_verb(Session& session, const AutostartOptions& options);
Result<int> run_verb(Session& session, const EventsOptions& options);
Result<int> run_verb(Session& session, const TopOptions& options);
Result<int> run_verb(Session& session, const SshOptions& options);
Result<int> run_verb(Session& session, const ExecOptions& options);
Result<int> run_verb(Session& session, const SshConfigOptions& options);
Result<int> run_verb(Session& session, const CpOptions& options);
Result<int> run_verb(Session& session, const ConsoleOptions& options);
Result<int> run_verb(Session& session, const LogsOptions& options);
Result<int> run_verb(Session& session, const IpOptions& options);
Result<int> run_verb(Session& session, const ImageListOptions& options);
Result<int> run_verb(Session& session, const ImageAvailableOptions& options);
Result<int> run_verb(Session& session, const ImagePullOptions& options);
Result<int> run_verb(Session& session, const ImageBuildOptions& options);
Result<int> run_verb(Session& session, const ImageImportOptions& options);
Result<int> run_verb(Session& session, const ImageRemoveOptions& options);
Result<int> run_verb(Session& session, const ImageVerifyOptions& options);
Result<int> run_verb(Session& session, const ImagePruneOptions& options);
Result<int> run_verb(Session& session, const CloneOptions& options);
Result<int> run_verb(Session& session, const SnapshotCreateOptions& options);
Result<int> run_verb(Session& session, const SnapshotListOptions& options);
Result<int> run_verb(Session& session, const SnapshotRestoreOptions& options);
Result<int> run_verb(Session& session, const SnapshotRemoveOptions& options);
Result<int> run_verb(Session& session, const TemplateCreateOptions& options);
Result<int> run_verb(Session& session, const TemplateListOptions& options);
Result<int> run_verb(Session& session, const TemplateRemoveOptions& options);
Result<int> run_verb(Session& session, const DoctorOptions& options);
Result<int> run_verb(Session& session, const NetworkListOptions& options);
Result<int> run_verb(Session& session, const NetworkSetupOptions& options);
Result<int> run_verb(Session& session, const NetworkConfirmOptions& options);
Result<int> run_verb(Session& session, const NetworkUndoOptions& options);
Result<int> run_verb(Session& session, const NetworkAttachOptions& options);
Result<int> run_verb(Session& session, const NetworkDetachOptions& options);
Result<int> run_verb(Session& session, const NetworkRollbackOptions& options);
Result<int> run_verb(Session& session, const NetworkWatchOptions& options);
Result<int> run_verb(Session& session, const DaemonVerbOptions& options);
Result<int> run_verb(Session& session, const VersionOptions& options);
Result<int> run_verb(Session& session, const HelpOptions& options);
Result<int> run_verb(Session& session, const CompletionOptions& options);

}  // namespace noxsup::cli
