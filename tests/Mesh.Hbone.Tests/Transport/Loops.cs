namespace Mesh.Hbone.Transport;

/// <summary>The event loops of the tests; null where there are none.</summary>
internal static class Loops
{
    /// <summary>As many as processors.</summary>
    public static EventLoopGroup? Shared { get; } = OperatingSystem.IsLinux() ? new EventLoopGroup(Environment.ProcessorCount) : null;

    /// <summary>One more, that nothing else is on.</summary>
    public static EventLoop? Other { get; } = OperatingSystem.IsLinux() ? new EventLoopGroup(1).Next() : null;
}
