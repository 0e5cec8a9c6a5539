using System.Collections.Immutable;

namespace Mesh.Core.Configuration;

/// <summary>One fault of a configuration file.</summary>
/// <param name="File">The file's name as it was given.</param>
/// <param name="Line">The line, counted from 1.</param>
/// <param name="Column">The column, counted from 1.</param>
/// <param name="Message">What is wrong, and what is allowed.</param>
public sealed record ConfigurationDiagnostic(string File, long Line, long Column, string Message)
{
    /// <summary><c>file:line:column: message</c>.</summary>
    public override string ToString() => $"{File}:{Line}:{Column}: {Message}";
}

/// <summary>A configuration file has faults, and nothing of it was applied.</summary>
public sealed class ConfigurationException(ImmutableArray<ConfigurationDiagnostic> diagnostics, Exception? innerException = null)
    : Exception(string.Join(Environment.NewLine, diagnostics), innerException)
{
    /// <summary>The faults, in the order of the file.</summary>
    public ImmutableArray<ConfigurationDiagnostic> Diagnostics { get; } = diagnostics;
}
