namespace Mesh.Hbone.Transport;

/// <summary>The event loops of the tests.</summary>
internal static class Loops
{
    /// <summary>As many as processors; null where there are none.</summary>
    public static EventLoopGroup? Shared { get; } = OperatingSystem.IsLinux() ? new EventLoopGroup(Environment.ProcessorCount) : null;
}
