using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Diagnosers;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using Mesh.Benchmarks;

// As the proxies run: completions on the polling thread. Set before the first socket is made.
Environment.SetEnvironmentVariable("DOTNET_SYSTEM_NET_SOCKETS_INLINE_COMPLETIONS", "1");

if (args is ["memory"])
{
    StateMemory.Report();
    return;
}

if (args is ["allocations"])
{
    await SteadyState.ReportAsync();
    return;
}

if (args is ["pods"])
{
    await ManyPods.ReportAsync();
    return;
}

switch (args)
{
    case ["control-plane", .. var parts]:
        await ControlPlaneLoad.ReportAsync(parts);
        return;
    case ["control-plane-ztunnel", var address, var root]:
        await ControlPlaneLoad.RunZtunnelAsync(address, root);
        return;
    case ["control-plane-pings", ..]:
        await ControlPlaneLoad.RunPingsAsync();
        return;
    case ["control-plane-clients", var address, var root]:
        await ControlPlaneLoad.RunClientsAsync(address, root);
        return;
}

// In this process: the machines that this runs on may not restore packages for a generated project.
var config = DefaultConfig.Instance
    .AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance))
    .AddDiagnoser(MemoryDiagnoser.Default);
BenchmarkSwitcher.FromAssembly(typeof(ManyPods).Assembly).Run(args, config);
